// Paho's C++ client under the contract of ../README.md.

#include <iostream>
#include <mqtt/async_client.h>
#include <string>
#include <unistd.h>

static void ready()
{
    std::cout << R"({"event": "ready"})" << std::endl;
}

static void arrived(const mqtt::message &message)
{
    std::cout << R"({"event": "message", "topic": ")" << message.get_topic() << R"(", "payload": ")"
              << message.to_string() << R"(", "qos": )" << message.get_qos() << R"(, "retain": )" << std::boolalpha
              << message.is_retained() << "}" << std::endl;
}

// It calls MQTT itself tcp and ssl.
static std::string translate(const std::string &url)
{
    if (url.rfind("mqtts:", 0) == 0)
        return "ssl:" + url.substr(6);
    if (url.rfind("mqtt:", 0) == 0)
        return "tcp:" + url.substr(5);
    return url;
}

static int run(char **words)
{
    const std::string role = words[1], url = words[2], topic = words[5];
    const bool five = std::string(words[4]) == "5.0";
    const int qos = std::stoi(words[6]), count = std::stoi(words[7]);

    mqtt::create_options create(five ? MQTTVERSION_5 : MQTTVERSION_3_1_1);
    mqtt::async_client client(translate(url), role + "-" + topic, create, nullptr);
    mqtt::connect_options options;
    options.set_mqtt_version(five ? MQTTVERSION_5 : MQTTVERSION_3_1_1);
    if (five)
        options.set_clean_start(true);
    else
        options.set_clean_session(true);
    if (url.rfind("mqtts:", 0) == 0 || url.rfind("wss:", 0) == 0) {
        mqtt::ssl_options tls;
        tls.set_trust_store(words[3]);
        tls.set_verify(true);
        options.set_ssl(tls);
    }
    if (role == "will")
        options.set_will(mqtt::will_options(topic, std::string("gone"), qos, false));
    client.start_consuming();
    client.connect(options)->wait();
    if (role == "publish") {
        for (int number = 0; number < count; number++)
            client.publish(topic, "client " + std::to_string(number), qos, false)->wait();
    } else if (role == "retain") {
        client.publish(topic, "kept", qos, true)->wait();
    } else if (role == "will") {
        ready();
        for (;;)
            pause();
    } else {
        client.subscribe(topic, qos)->wait();
        ready();
        for (int number = 0; number < count; number++) {
            auto message = client.consume_message();
            if (!message)
                throw std::runtime_error("the connection was lost");
            arrived(*message);
        }
    }
    client.disconnect()->wait();
    return 0;
}

int main(int argc, char **words)
{
    if (argc != 8)
        return 2;
    try {
        return run(words);
    } catch (const std::exception &fault) {
        std::cerr << fault.what() << std::endl;
        return 1;
    }
}
