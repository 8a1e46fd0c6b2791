//! rumqttc under the contract of tests/interop/clients/README.md; its two versions have a client each, of one shape.

use std::{env, error::Error, fs};

use rumqttc::{TlsConfiguration, Transport};

struct Task {
    role: String,
    url: String,
    ca: String,
    version: String,
    topic: String,
    qos: u8,
    count: usize,
}

impl Task {
    /// What the client is to be told as host and port: of a WebSocket it wants the whole URL.
    fn address(&self) -> (String, u16) {
        let authority = self.url.split('/').nth(2).unwrap();
        let (host, port) = authority.rsplit_once(':').unwrap();
        let host = if self.url.starts_with("ws") { &self.url } else { host };
        (host.to_string(), port.parse().unwrap())
    }

    fn transport(&self) -> Transport {
        let tls = || TlsConfiguration::Simple { ca: fs::read(&self.ca).unwrap(), alpn: None, client_auth: None };
        match self.url.split(':').next().unwrap() {
            "mqtts" => Transport::Tls(tls()),
            "wss" => Transport::Wss(tls()),
            "ws" => Transport::Ws,
            _ => Transport::Tcp,
        }
    }
}

macro_rules! client {
    ($name:ident, $client:ident, $packets:ident, $qos:path, [$($will_properties:expr)?], $text:expr) => {
        async fn $name(task: &Task) -> Result<(), Box<dyn Error>> {
            let (host, port) = task.address();
            let qos = $qos(task.qos).ok_or("no such QoS")?;
            let mut options = $client::MqttOptions::new(format!("{}-{}", task.role, task.topic), host, port);
            options.set_transport(task.transport());
            if task.role == "will" {
                options.set_last_will($packets::LastWill::new(&task.topic, "gone", qos, false $(, $will_properties)?));
            }
            let (client, mut events) = $client::AsyncClient::new(options, task.count + 10);
            let mut left = task.count;
            loop {
                let event = events.poll().await?;
                let delivered = match &event {
                    $client::Event::Incoming($packets::Packet::ConnAck(_)) => {
                        match task.role.as_str() {
                            "subscribe" => client.subscribe(&task.topic, qos).await?,
                            "will" => println!(r#"{{"event": "ready"}}"#),
                            "retain" => client.publish(&task.topic, qos, true, "kept").await?,
                            _ => {
                                for number in 0..task.count {
                                    client.publish(&task.topic, qos, false, format!("client {number}")).await?;
                                }
                            }
                        }
                        false
                    }
                    $client::Event::Incoming($packets::Packet::SubAck(_)) => {
                        println!(r#"{{"event": "ready"}}"#);
                        false
                    }
                    $client::Event::Incoming($packets::Packet::Publish(message)) => {
                        println!(
                            r#"{{"event": "message", "topic": "{}", "payload": "{}", "qos": {}, "retain": {}}}"#,
                            $text(&message.topic),
                            String::from_utf8_lossy(&message.payload),
                            message.qos as u8,
                            message.retain
                        );
                        true
                    }
                    $client::Event::Outgoing(rumqttc::Outgoing::Publish(_)) => task.qos == 0,
                    $client::Event::Incoming($packets::Packet::PubAck(_) | $packets::Packet::PubComp(_)) => true,
                    $client::Event::Outgoing(rumqttc::Outgoing::Disconnect) => return Ok(()),
                    _ => false,
                };
                if delivered {
                    left -= 1;
                    if left == 0 {
                        client.disconnect().await?;
                    }
                }
            }
        }
    };
}

mod v5 {
    pub use rumqttc::v5::mqttbytes::{v5::*, *};
}
use rumqttc::v5 as v5_client;

client!(run_3, rumqttc, rumqttc, three_qos, [], |topic: &String| topic.clone());
client!(run_5, v5_client, v5, v5::qos, [None], |topic: &[u8]| String::from_utf8_lossy(topic).into_owned());

fn three_qos(number: u8) -> Option<rumqttc::QoS> {
    rumqttc::qos(number).ok()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let mut next = || words.next().expect("ROLE URL CA VERSION TOPIC QOS COUNT");
    let (role, url, ca, version, topic) = (next(), next(), next(), next(), next());
    let task = Task { role, url, ca, version, topic, qos: next().parse()?, count: next().parse()? };
    if task.version == "5.0" {
        run_5(&task).await
    } else {
        run_3(&task).await
    }
}
