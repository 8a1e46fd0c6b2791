/* Paho's C client, its synchronous form with TLS, under the contract of ../README.md. */

#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 20000

static void check(int reason, const char *what)
{
    if (reason != MQTTCLIENT_SUCCESS) {
        fprintf(stderr, "%s: %d %s\n", what, reason, MQTTClient_strerror(reason) ? MQTTClient_strerror(reason) : "");
        exit(1);
    }
}

static void ready(void)
{
    printf("{\"event\": \"ready\"}\n");
    fflush(stdout);
}

static MQTTClient client;
static const char *topic;
static int qos, five;

static void subscribe(void)
{
    if (five) {
        MQTTResponse response = MQTTClient_subscribe5(client, topic, qos, NULL, NULL);
        check((int)response.reasonCode == qos ? MQTTCLIENT_SUCCESS : (int)response.reasonCode, "subscribe");
        MQTTResponse_free(response);
    } else {
        check(MQTTClient_subscribe(client, topic, qos), "subscribe");
    }
}

static void publish(const char *payload, int retained)
{
    MQTTClient_deliveryToken token;
    if (five) {
        MQTTResponse response = MQTTClient_publish5(client, topic, strlen(payload), payload, qos, retained, NULL, &token);
        check(response.reasonCode, "publish");
        MQTTResponse_free(response);
    } else {
        check(MQTTClient_publish(client, topic, strlen(payload), payload, qos, retained, &token), "publish");
    }
    check(MQTTClient_waitForCompletion(client, token, WAIT_MS), "acknowledgement");
}

static void receive(void)
{
    char *name;
    int length;
    MQTTClient_message *message;
    do
        check(MQTTClient_receive(client, &name, &length, &message, WAIT_MS), "receive");
    while (!message);
    printf("{\"event\": \"message\", \"topic\": \"%s\", \"payload\": \"%.*s\", \"qos\": %d, \"retain\": %s}\n", name,
           message->payloadlen, (char *)message->payload, message->qos, message->retained ? "true" : "false");
    fflush(stdout);
    MQTTClient_freeMessage(&message);
    MQTTClient_free(name);
}

/* It calls MQTT itself tcp and ssl. */
static void translate(const char *url, char *server, size_t size)
{
    if (!strncmp(url, "mqtts:", 6))
        snprintf(server, size, "ssl:%s", url + 6);
    else if (!strncmp(url, "mqtt:", 5))
        snprintf(server, size, "tcp:%s", url + 5);
    else
        snprintf(server, size, "%s", url);
}

static void connect_as(int will, const char *ca)
{
    MQTTClient_connectOptions three_options = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions five_options = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions options = five ? five_options : three_options;
    MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
    MQTTClient_willOptions last_will = MQTTClient_willOptions_initializer;
    options.MQTTVersion = five ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    tls.trustStore = ca;
    tls.verify = 1;
    options.ssl = &tls;
    last_will.topicName = topic;
    last_will.message = "gone";
    last_will.qos = qos;
    if (will)
        options.will = &last_will;
    if (five) {
        MQTTResponse response = MQTTClient_connect5(client, &options, NULL, NULL);
        check(response.reasonCode, "connect");
        MQTTResponse_free(response);
    } else {
        check(MQTTClient_connect(client, &options), "connect");
    }
}

int main(int argc, char **words)
{
    if (argc != 8)
        return 2;
    const char *role = words[1];
    char server[256], identifier[256];
    int count = atoi(words[7]);
    five = !strcmp(words[4], "5.0");
    topic = words[5];
    qos = atoi(words[6]);
    translate(words[2], server, sizeof server);
    snprintf(identifier, sizeof identifier, "%s-%s", role, topic);
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = five ? MQTTVERSION_5 : MQTTVERSION_DEFAULT;
    check(MQTTClient_createWithOptions(&client, server, identifier, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create),
          "create");
    connect_as(!strcmp(role, "will"), words[3]);
    if (!strcmp(role, "publish")) {
        for (int number = 0; number < count; number++) {
            char payload[32];
            snprintf(payload, sizeof payload, "client %d", number);
            publish(payload, 0);
        }
    } else if (!strcmp(role, "retain")) {
        publish("kept", 1);
    } else if (!strcmp(role, "will")) {
        ready();
        for (;;)
            pause();
    } else {
        subscribe();
        ready();
        while (count--)
            receive();
    }
    if (five)
        check(MQTTClient_disconnect5(client, WAIT_MS, MQTTREASONCODE_NORMAL_DISCONNECTION, NULL), "disconnect");
    else
        check(MQTTClient_disconnect(client, WAIT_MS), "disconnect");
    MQTTClient_destroy(&client);
    return 0;
}
