//! How fast it is. Not a test that every machine passes: run it with `--ignored --nocapture`, built with `--release`.

use crate::open;
use crate::peer::{Peer, options};
use hdrhistogram::Histogram;
use std::time::Instant;

const UP: &str = "client/pi/experience/dqn/v1";
const DOWN: &str = "client/pi/weights/dqn/v1";

#[tokio::test]
#[ignore = "a measurement"]
async fn an_experience_goes_up_and_weights_come_down() {
    let before = resident_kb();
    let broker = open();
    let address = broker.address();
    let started = resident_kb();
    let trainer = std::thread::spawn(move || serve_weights(address));
    let mut device = Peer::connect(options(address, "pi")).await.unwrap();
    assert!(device.subscribe("client/pi/weights/#").await);
    let mut times = Histogram::<u64>::new(3).unwrap();
    // Until the trainer is there, nobody answers.
    std::thread::sleep(std::time::Duration::from_millis(200));
    for nth in 0..600 {
        let begin = Instant::now();
        device
            .client
            .publish(UP, rumqttc::QoS::AtLeastOnce, false, vec![0; 64])
            .await
            .unwrap();
        assert_eq!(device.message().await.1.len(), 800_000);
        if nth >= 100 {
            times.record(begin.elapsed().as_micros() as u64).unwrap();
        }
    }
    println!(
        "64 B up, 800 kB down: p50 {} us, p99 {} us; resident: {} kB before, {} kB with the broker, {} kB after",
        times.value_at_quantile(0.5),
        times.value_at_quantile(0.99),
        before,
        started,
        resident_kb(),
    );
    device
        .client
        .publish(UP, rumqttc::QoS::AtLeastOnce, false, "")
        .await
        .unwrap();
    device.publish(UP, "", false).await;
    trainer.join().unwrap();
    let begin = Instant::now();
    broker.stop();
    println!("stopped within {:?}", begin.elapsed());
}

/// Answers every experience with weights, until an empty one comes.
fn serve_weights(address: std::net::SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut trainer = Peer::connect(options(address, "trainer")).await.unwrap();
        assert!(trainer.subscribe(UP).await);
        let weights = bytes::Bytes::from(vec![1; 800_000]);
        while !trainer.message().await.1.is_empty() {
            trainer
                .client
                .publish_bytes(DOWN, rumqttc::QoS::AtLeastOnce, false, weights.clone())
                .await
                .unwrap();
        }
    });
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
