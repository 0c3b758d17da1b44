use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Takes connections, and sends back what comes.
async fn echo() -> Target {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    Target::Tcp(address)
}

async fn ask(link: &Link, bytes: usize) -> std::io::Result<Vec<u8>> {
    let (mut read, mut write) = TcpStream::connect(link.address()).await?.into_split();
    let send = async move { write.write_all(&vec![3; bytes]).await };
    let mut back = Vec::new();
    tokio::try_join!(send, read.read_to_end(&mut back))?;
    Ok(back)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted_exactly() {
    for shape in [Shape::OPEN, Shape { bytes_a_second: Some(50_000_000), delay: Duration::from_millis(1) }] {
        let link = Link::start(echo().await, shape).unwrap();
        assert_eq!(ask(&link, 300_000).await.unwrap(), vec![3; 300_000]);
        assert_eq!((link.up(), link.state.down.counted()), (300_000, 300_000));
        link.count(None);
        assert_eq!(link.up(), 0);
    }
}

#[tokio::test]
async fn a_cut_ends_every_connection_and_the_next_one_passes() {
    let link = Link::start(echo().await, Shape::OPEN).unwrap();
    let mut idle = TcpStream::connect(link.address()).await.unwrap();
    idle.write_all(b"x").await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'x');
    link.count(Some(100_000));
    // An end without all bytes, or a reset.
    assert!(ask(&link, 5_000_000).await.map_or(0, |back| back.len()) < 5_000_000);
    assert!(idle.read_u8().await.is_err());
    assert!(link.was_cut());
    assert!((100_000..500_000).contains(&link.up()), "{}", link.up());
    let before = link.up();
    assert_eq!(ask(&link, 200_000).await.unwrap().len(), 200_000);
    assert_eq!(link.up(), before + 200_000);
}

#[tokio::test]
async fn a_slow_link_takes_its_time_on_real_sockets() {
    let link = Link::start(echo().await, Shape::SLOW).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(ask(&link, 1_250_000).await.unwrap().len(), 1_250_000);
    // 0.2 s for the bytes, a handshake, and the way there and back; a busy machine takes longer.
    assert!(start.elapsed() >= Duration::from_millis(265), "{:?}", start.elapsed());
}

#[test]
fn an_engine_is_named_by_a_socket_or_an_address() {
    assert_eq!(Target::engine("unix:///run/b.sock").unwrap(), Target::Unix("/run/b.sock".into()));
    assert_eq!(Target::engine("tcp://127.0.0.1:1234").unwrap(), Target::Tcp(([127, 0, 0, 1], 1234).into()));
    Target::engine("docker://").unwrap_err();
}
