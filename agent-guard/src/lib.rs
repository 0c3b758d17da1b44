//! What a step may ask an SSH agent: which keys it has, and for signatures. All else an agent is asked by its owner: to take and
//! drop keys, to lock itself, to load libraries that speak to tokens. So do BuildKit's own clients (`sshforward/sshprovider`).
//!
//! The client guards its own agent, whatever the service may send; the service guards those that it holds itself, and lets nothing
//! else on its way.
//!
//! Messages are a length, a type and what belongs to it (draft-miller-ssh-agent, section 3); each has one answer, in order.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const ALLOWED: [u8; 2] = [11, 13];
/// `SSH_AGENT_FAILURE`.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// The longest message, as in OpenSSH (`AGENT_MAX_LEN`).
const MAX_MESSAGE: usize = 256 << 10;

/// Passes messages of a step on to the agent, and answers back, until either leaves or sends what is no message. A message is at
/// most 256 KiB; an answer comes as one piece.
pub async fn pass(
    from_step: impl futures::Stream<Item = io::Result<Vec<u8>>> + Unpin,
    agent: UnixStream,
    to_step: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let left = to_step.clone();
    tokio::select! {
        // An agent may take its time to ask its owner, and the step may be gone meanwhile.
        () = left.closed() => Ok(()),
        passed = pass_all(from_step, agent, to_step) => passed,
    }
}

async fn pass_all(
    from_step: impl futures::Stream<Item = io::Result<Vec<u8>>> + Unpin,
    mut agent: UnixStream,
    to_step: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let from_step = futures::StreamExt::map(from_step, |piece| piece.map(io::Cursor::new));
    let mut from_step = StreamReader::new(from_step);
    while let Some(message) = message(&mut from_step).await? {
        let is_allowed = message.get(LENGTH).is_some_and(|kind| ALLOWED.contains(kind));
        let answer = if is_allowed {
            agent.write_all(&message).await?;
            let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
            self::message(&mut agent).await?.ok_or_else(gone)?
        } else {
            FAILURE.to_vec()
        };
        if to_step.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Bytes of a length.
const LENGTH: usize = 4;

/// One message, its length included; nothing at the end.
async fn message(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; LENGTH];
    match from.read_exact(&mut message).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = message.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length == 0 || length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "that is no message of the agent protocol"));
    }
    message.resize(LENGTH + length, 0);
    from.read_exact(message.get_mut(LENGTH..).unwrap_or_default()).await?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the step hears and the agent hears, when the step sends this in pieces; the agent answers each with `[14]`.
    async fn heard(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, bool) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let agent = async {
            let mut asked = Vec::new();
            while let Ok(Some(message)) = message(&mut theirs).await {
                asked.push(message);
                theirs.write_all(&[0, 0, 0, 1, 14]).await.unwrap();
            }
            asked
        };
        let (to_step, mut answers) = mpsc::channel(16);
        let sent = futures::stream::iter(pieces.iter().map(|piece| Ok(piece.to_vec())).collect::<Vec<_>>());
        let (passed, asked) = tokio::join!(pass(sent, ours, to_step), agent);
        let mut answered = Vec::new();
        while let Some(answer) = answers.recv().await {
            answered.push(answer);
        }
        (answered, asked, passed.is_ok())
    }

    #[tokio::test]
    async fn keys_are_listed_and_sign_and_nothing_else_reaches_the_agent() {
        let signed = vec![0, 0, 0, 1, 14];
        let (answered, asked, _) = heard(&[&[0, 0, 0, 1, 11, 0, 0], &[0, 3, 13, 7], &[8]]).await;
        assert_eq!(answered, [signed.clone(), signed.clone()]);
        assert_eq!(asked, [vec![0, 0, 0, 1, 11], vec![0, 0, 0, 3, 13, 7, 8]]);
        // Add, remove, remove all, a library, lock, an extension.
        for kind in [17, 18, 19, 20, 21, 22, 25, 26, 27] {
            let (answered, asked, fine) = heard(&[&[0, 0, 0, 2, kind, 1], &[0, 0, 0, 1, 11]]).await;
            assert_eq!(answered, [FAILURE.to_vec(), signed.clone()], "{kind}");
            assert_eq!((asked.len(), fine), (1, true), "{kind}");
        }
    }

    #[tokio::test]
    async fn a_step_that_leaves_is_not_waited_for() {
        let (ours, _silent) = UnixStream::pair().unwrap();
        let (to_step, answers) = mpsc::channel(1);
        let asks = futures::stream::iter([Ok(vec![0, 0, 0, 1, 11])]);
        let passing = tokio::spawn(pass(asks, ours, to_step));
        tokio::task::yield_now().await;
        drop(answers);
        passing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        for bytes in [&[0, 0, 0, 0][..], &[255, 0, 0, 1, 11], &[0, 0, 0, 9, 11]] {
            let (answered, asked, fine) = heard(&[bytes]).await;
            assert!(answered.is_empty() && asked.is_empty() && !fine, "{bytes:?}");
        }
    }
}
