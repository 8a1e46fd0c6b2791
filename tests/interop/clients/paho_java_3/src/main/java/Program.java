// Paho's Java client for MQTT 3.1.1 under the contract of ../README.md.

import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CountDownLatch;
import javax.net.SocketFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.eclipse.paho.client.mqttv3.MqttClient;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

public class Program {
    public static void main(String[] words) throws Exception {
        String role = words[0], url = words[1], ca = words[2], topic = words[4];
        int qos = Integer.parseInt(words[5]), count = Integer.parseInt(words[6]);
        String server = url.replaceFirst("^mqtts:", "ssl:").replaceFirst("^mqtt:", "tcp:");
        MqttClient client = new MqttClient(server, role + "-" + topic, new MemoryPersistence());
        MqttConnectOptions options = new MqttConnectOptions();
        options.setMqttVersion(MqttConnectOptions.MQTT_VERSION_3_1_1);
        if (url.startsWith("mqtts:") || url.startsWith("wss:")) options.setSocketFactory(trusting(ca));
        if (role.equals("will")) options.setWill(topic, bytes("gone"), qos, false);
        CountDownLatch left = new CountDownLatch(count);
        client.connect(options);
        switch (role) {
            case "publish" -> {
                for (int number = 0; number < count; number++) client.publish(topic, bytes("client " + number), qos, false);
            }
            case "retain" -> client.publish(topic, bytes("kept"), qos, true);
            case "will" -> {
                tell("{\"event\": \"ready\"}");
                new CountDownLatch(1).await();
            }
            default -> {
                client.subscribe(topic, qos, (name, message) -> {
                    arrived(name, message);
                    left.countDown();
                });
                tell("{\"event\": \"ready\"}");
                left.await();
            }
        }
        client.disconnect();
        client.close();
    }

    private static void arrived(String topic, MqttMessage message) {
        String text = new String(message.getPayload(), StandardCharsets.UTF_8);
        tell(String.format(
                "{\"event\": \"message\", \"topic\": \"%s\", \"payload\": \"%s\", \"qos\": %d, \"retain\": %b}",
                topic, text, message.getQos(), message.isRetained()));
    }

    private static void tell(String line) {
        System.out.println(line);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static SocketFactory trusting(String ca) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        try (FileInputStream file = new FileInputStream(ca)) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context.getSocketFactory();
    }
}
