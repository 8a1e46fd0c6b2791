// HiveMQ's Java client under the contract of ../README.md; its two versions have a client each, of one shape.

import com.hivemq.client.mqtt.MqttClient;
import com.hivemq.client.mqtt.MqttClientBuilder;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3BlockingClient;
import com.hivemq.client.mqtt.mqtt3.message.publish.Mqtt3Publish;
import com.hivemq.client.mqtt.mqtt5.Mqtt5BlockingClient;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5Publish;
import java.io.FileInputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CountDownLatch;
import javax.net.ssl.TrustManagerFactory;

public class Program {
    public static void main(String[] words) throws Exception {
        String role = words[0], ca = words[2], version = words[3], topic = words[4];
        URI url = URI.create(words[1]);
        MqttQos qos = MqttQos.fromCode(Integer.parseInt(words[5]));
        int count = Integer.parseInt(words[6]);
        MqttClientBuilder builder = MqttClient.builder();
        builder = builder.identifier(role + "-" + topic).serverHost(url.getHost()).serverPort(url.getPort());
        if (url.getScheme().equals("mqtts") || url.getScheme().equals("wss")) {
            builder = builder.sslConfig().trustManagerFactory(trusting(ca)).applySslConfig();
        }
        if (url.getScheme().startsWith("ws")) {
            builder = builder.webSocketConfig().serverPath(url.getPath()).applyWebSocketConfig();
        }
        if (version.equals("5.0")) run5(builder, role, topic, qos, count);
        else run3(builder, role, topic, qos, count);
    }

    private static void run3(MqttClientBuilder builder, String role, String topic, MqttQos qos, int count)
            throws Exception {
        Mqtt3Publish will = role.equals("will") ? message3(topic, "gone", qos, false) : null;
        Mqtt3BlockingClient client = builder.useMqttVersion3().willPublish(will).buildBlocking();
        client.connect();
        switch (role) {
            case "publish" -> {
                for (int number = 0; number < count; number++) {
                    client.publish(message3(topic, "client " + number, qos, false));
                }
            }
            case "retain" -> client.publish(message3(topic, "kept", qos, true));
            case "will" -> stay();
            default -> {
                try (Mqtt3BlockingClient.Mqtt3Publishes arriving = client.publishes(MqttGlobalPublishFilter.ALL)) {
                    client.subscribeWith().topicFilter(topic).qos(qos).send();
                    ready();
                    for (int number = 0; number < count; number++) {
                        Mqtt3Publish message = arriving.receive();
                        arrived(message.getTopic(), message.getPayloadAsBytes(), message.getQos(), message.isRetain());
                    }
                }
            }
        }
        client.disconnect();
    }

    private static void run5(MqttClientBuilder builder, String role, String topic, MqttQos qos, int count)
            throws Exception {
        Mqtt5Publish will = role.equals("will") ? message5(topic, "gone", qos, false) : null;
        Mqtt5BlockingClient client = builder.useMqttVersion5().willPublish(will).buildBlocking();
        client.connect();
        switch (role) {
            case "publish" -> {
                for (int number = 0; number < count; number++) {
                    client.publish(message5(topic, "client " + number, qos, false));
                }
            }
            case "retain" -> client.publish(message5(topic, "kept", qos, true));
            case "will" -> stay();
            default -> {
                try (Mqtt5BlockingClient.Mqtt5Publishes arriving = client.publishes(MqttGlobalPublishFilter.ALL)) {
                    client.subscribeWith().topicFilter(topic).qos(qos).send();
                    ready();
                    for (int number = 0; number < count; number++) {
                        Mqtt5Publish message = arriving.receive();
                        arrived(message.getTopic(), message.getPayloadAsBytes(), message.getQos(), message.isRetain());
                    }
                }
            }
        }
        client.disconnect();
    }

    private static Mqtt3Publish message3(String topic, String payload, MqttQos qos, boolean retain) {
        return Mqtt3Publish.builder().topic(topic).payload(bytes(payload)).qos(qos).retain(retain).build();
    }

    private static Mqtt5Publish message5(String topic, String payload, MqttQos qos, boolean retain) {
        return Mqtt5Publish.builder().topic(topic).payload(bytes(payload)).qos(qos).retain(retain).build();
    }

    private static void stay() throws InterruptedException {
        ready();
        new CountDownLatch(1).await();
    }

    private static void ready() {
        System.out.println("{\"event\": \"ready\"}");
    }

    private static void arrived(Object topic, byte[] payload, MqttQos qos, boolean retain) {
        System.out.println(String.format(
                "{\"event\": \"message\", \"topic\": \"%s\", \"payload\": \"%s\", \"qos\": %d, \"retain\": %b}",
                topic, new String(payload, StandardCharsets.UTF_8), qos.getCode(), retain));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static TrustManagerFactory trusting(String ca) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        try (FileInputStream file = new FileInputStream(ca)) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        return managers;
    }
}
