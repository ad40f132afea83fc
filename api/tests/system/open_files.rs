//! Connections are open files, of which there are only so many.

use std::net::TcpStream;
use std::time::Duration;

use crate::process::{Server, Start};
use crate::store::Store;

/// Starts a server under a limit of the shell's.
fn limited(store: &Store, limit: &str) -> Server {
    Start::on(store).under(&["sh", "-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]).start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_open_as_many_files_as_its_hard_limit_allows() {
    let store = Store::sqlite();
    let server = limited(&store, "-Sn 160");
    let [soft, hard] = server.open_files_max();
    assert!(soft == hard && soft != "160", "{soft} of {hard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_there_are_none_left_is_told_once_and_clients_are_served_when_others_have_gone() {
    let store = Store::sqlite();
    let server = limited(&store, "-n 160");
    let address = server.address().strip_prefix("http://").unwrap().to_owned();
    let connections: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = server.log.lock().unwrap().matches("a connection was not accepted").count();
    assert_eq!(told, 1, "{}", server.log.lock().unwrap());
    drop(connections);
    assert_eq!(server.anonymous().get("/health").await.status, 200);
}
