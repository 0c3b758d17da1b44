//! One direction of a link.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Shape, locked};

/// Bytes that are taken at once.
const PIECE: usize = 16 << 10;
/// What may be caught up when the timer or the sender was late: little, or it were a faster link.
const BURST: Duration = Duration::from_millis(10);
/// What a connection may have on its way beyond rate × delay, in bytes: for a receiver that is late now and then.
const MARGIN: u64 = 256 << 10;

/// One direction: its rate belongs to all connections together.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// When the last byte that was taken has left; none before the first.
    left: Option<Instant>,
    bytes: u64,
    cut_after: Option<u64>,
    cut: bool,
    /// Ends the connections there are; those that come afterwards have another.
    connections: CancellationToken,
}

impl Lane {
    pub(super) fn count(&self, cut_after: Option<u64>) {
        let mut state = locked(&self.state);
        state.bytes = 0;
        state.cut_after = cut_after;
        state.cut = false;
    }

    pub(super) fn counted(&self) -> u64 {
        locked(&self.state).bytes
    }

    pub(super) fn was_cut(&self) -> bool {
        locked(&self.state).cut
    }

    /// For a connection that starts: cancelled when it is cut.
    pub(super) fn until_cut(&self) -> CancellationToken {
        locked(&self.state).connections.clone()
    }

    /// Counts bytes, and tells when the last of them leaves.
    fn take(&self, bytes: usize, rate: Option<u64>) -> Instant {
        let mut state = locked(&self.state);
        state.bytes += bytes as u64;
        if state.cut_after.is_some_and(|limit| state.bytes >= limit) {
            state.cut_after = None;
            state.cut = true;
            std::mem::take(&mut state.connections).cancel();
        }
        let now = Instant::now();
        let Some(rate) = rate else { return now };
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = state.left.map_or(now, |left| left.max(earliest));
        let left = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        state.left = Some(left);
        left
    }
}

/// Carries bytes from one side to the other until the first ends, and then says so to the other.
pub(super) async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    lane: &Lane,
    shape: Shape,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let Some(rate) = shape.bytes_a_second else {
        loop {
            let len = from.read(&mut buffer).await?;
            if len == 0 {
                return to.shutdown().await;
            }
            lane.take(len, None);
            to.write_all(buffer.get(..len).unwrap_or_default()).await?;
        }
    };
    let room = (rate as f64 * shape.delay.as_secs_f64()) as u64 + MARGIN;
    let room = Arc::new(Semaphore::new(usize::try_from(room).unwrap_or(Semaphore::MAX_PERMITS)));
    // Bounded by the permits: one for each byte.
    let (send, mut receive) = mpsc::unbounded_channel();
    let depart = async move {
        loop {
            let len = from.read(&mut buffer).await?;
            if len == 0 {
                return Ok::<_, io::Error>(());
            }
            let left = lane.take(len, Some(rate));
            sleep_until(left).await;
            let permits = u32::try_from(len).unwrap_or(u32::MAX);
            let permit = Arc::clone(&room).acquire_many_owned(permits).await.map_err(io::Error::other)?;
            let bytes = buffer.get(..len).unwrap_or_default().to_vec();
            if send.send((left + shape.delay, bytes, permit)).is_err() {
                return Ok(());
            }
        }
    };
    let arrive = async {
        while let Some((due, bytes, permit)) = receive.recv().await {
            sleep_until(due).await;
            to.write_all(&bytes).await?;
            drop(permit);
        }
        to.shutdown().await
    };
    tokio::try_join!(depart, arrive).map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const RATE: u64 = 1_000_000;
    const DELAY: Duration = Duration::from_millis(20);
    const SHAPE: Shape = Shape { bytes_a_second: Some(RATE), delay: DELAY };

    /// Time is tokio's: what is measured is exact, however busy the machine is.
    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_shared_by_all_connections() {
        let lane = Lane::default();
        let start = Instant::now();
        let one = async {
            let ((mut client, from), (to, mut service)) = (duplex(1 << 20), duplex(1 << 20));
            let send = async move { client.write_all(&vec![7; RATE as usize]).await };
            let mut got = Vec::new();
            tokio::try_join!(send, carry(from, to, &lane, SHAPE), service.read_to_end(&mut got)).unwrap();
            assert_eq!(got, vec![7; RATE as usize]);
        };
        let other = async {
            let ((mut client, from), (to, mut service)) = (duplex(1 << 20), duplex(1 << 20));
            let send = async move { client.write_all(&vec![8; RATE as usize]).await };
            let mut got = Vec::new();
            tokio::try_join!(send, carry(from, to, &lane, SHAPE), service.read_to_end(&mut got)).unwrap();
            assert_eq!(got, vec![8; RATE as usize]);
        };
        tokio::join!(one, other);
        let seconds = start.elapsed().as_secs_f64() - DELAY.as_secs_f64();
        assert!((1.96..2.04).contains(&seconds), "{seconds}");
        assert_eq!(lane.counted(), 2 * RATE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_arrives_after_the_delay() {
        let lane = Lane::default();
        let ((mut client, from), (to, mut service)) = (duplex(64), duplex(64));
        let start = Instant::now();
        let ask = async {
            client.write_all(b"x").await?;
            let byte = service.read_u8().await?;
            let took = start.elapsed();
            drop(client);
            assert_eq!((byte, service.read(&mut [0]).await?), (b'x', 0));
            Ok(took)
        };
        let (took, ()) = tokio::try_join!(ask, carry(from, to, &lane, SHAPE)).unwrap();
        assert!((DELAY..DELAY + Duration::from_millis(3)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_link_saves_up_no_more_than_a_burst() {
        let lane = Lane::default();
        lane.take(1, Some(RATE));
        tokio::time::advance(Duration::from_secs(10)).await;
        let left = lane.take(RATE as usize, Some(RATE));
        assert_eq!(left - Instant::now() + BURST, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_stands_still_stops_the_sender() {
        let lane = Lane::default();
        let ((mut client, from), (to, service)) = (duplex(1), duplex(1));
        let send = async move { client.write_all(&vec![0; 10 * RATE as usize]).await };
        let stopped = async {
            let all = tokio::time::timeout(Duration::from_mins(1), carry(from, to, &lane, SHAPE)).await;
            all.unwrap_err();
            drop(service);
        };
        tokio::select! {
            _ = send => panic!("it took everything"),
            () = stopped => {}
        }
        let most = RATE / 50 + MARGIN + 2 * PIECE as u64;
        assert!((MARGIN..most).contains(&lane.counted()), "{}", lane.counted());
    }
}
