// Paho's Java client for MQTT 5.0 under the contract of ../README.md.

import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CountDownLatch;
import javax.net.SocketFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.eclipse.paho.mqttv5.client.IMqttToken;
import org.eclipse.paho.mqttv5.client.MqttCallback;
import org.eclipse.paho.mqttv5.client.MqttClient;
import org.eclipse.paho.mqttv5.client.MqttConnectionOptions;
import org.eclipse.paho.mqttv5.client.MqttDisconnectResponse;
import org.eclipse.paho.mqttv5.client.persist.MemoryPersistence;
import org.eclipse.paho.mqttv5.common.MqttException;
import org.eclipse.paho.mqttv5.common.MqttMessage;
import org.eclipse.paho.mqttv5.common.packet.MqttProperties;

public class Program {
    public static void main(String[] words) throws Exception {
        String role = words[0], url = words[1], ca = words[2], topic = words[4];
        int qos = Integer.parseInt(words[5]), count = Integer.parseInt(words[6]);
        String server = url.replaceFirst("^mqtts:", "ssl:").replaceFirst("^mqtt:", "tcp:");
        MqttClient client = new MqttClient(server, role + "-" + topic, new MemoryPersistence());
        MqttConnectionOptions options = new MqttConnectionOptions();
        options.setCleanStart(true);
        if (url.startsWith("mqtts:") || url.startsWith("wss:")) options.setSocketFactory(trusting(ca));
        if (role.equals("will")) options.setWill(topic, new MqttMessage(bytes("gone"), qos, false, null));
        CountDownLatch left = new CountDownLatch(count);
        client.setCallback(new Arrivals(left));
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
                client.subscribe(topic, qos).waitForCompletion();
                tell("{\"event\": \"ready\"}");
                left.await();
            }
        }
        client.disconnect();
        client.close();
    }

    private record Arrivals(CountDownLatch left) implements MqttCallback {
        public void messageArrived(String topic, MqttMessage message) {
            arrived(topic, message);
            left.countDown();
        }

        public void disconnected(MqttDisconnectResponse response) {}

        public void mqttErrorOccurred(MqttException exception) {
            exception.printStackTrace();
        }

        public void deliveryComplete(IMqttToken token) {}

        public void connectComplete(boolean reconnect, String server) {}

        public void authPacketArrived(int reason, MqttProperties properties) {}
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
