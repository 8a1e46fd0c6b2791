// Paho's Go client for MQTT 5.0, by its autopaho, under the contract of ../README.md.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	neturl "net/url"
	"os"
	"strconv"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

func main() {
	log.SetFlags(0)
	role, url, ca, topic := os.Args[1], os.Args[2], os.Args[3], os.Args[5]
	qosNumber, _ := strconv.Atoi(os.Args[6])
	count, _ := strconv.Atoi(os.Args[7])
	qos := byte(qosNumber)

	server, err := neturl.Parse(url)
	check(err)
	authority, err := os.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)

	arrived := make(chan *paho.Publish, count)
	config := autopaho.ClientConfig{
		ServerUrls:                    []*neturl.URL{server},
		TlsCfg:                        &tls.Config{RootCAs: pool},
		KeepAlive:                     60,
		CleanStartOnInitialConnection: true,
		OnConnectError:                check,
		ClientConfig: paho.ClientConfig{
			ClientID: role + "-" + topic,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(received paho.PublishReceived) (bool, error) {
					arrived <- received.Packet
					return true, nil
				},
			},
		},
	}
	if role == "will" {
		config.WillMessage = &paho.WillMessage{Topic: topic, Payload: []byte("gone"), QoS: qos}
	}
	ctx := context.Background()
	client, err := autopaho.NewConnection(ctx, config)
	check(err)
	check(client.AwaitConnection(ctx))
	publish := func(payload string, retain bool) {
		_, err := client.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
		check(err)
	}
	switch role {
	case "publish":
		for number := range count {
			publish(fmt.Sprintf("client %d", number), false)
		}
		// It pings as soon as it is connected. An answer that is unread when it closes makes the system reset the
		// connection, and what went out at QoS 0 is lost with it; whoever has UNSUBACK has PINGRESP.
		_, err := client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{topic}})
		check(err)
	case "retain":
		publish("kept", true)
	case "will":
		fmt.Println(`{"event": "ready"}`)
		select {}
	default:
		_, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: qos}}})
		check(err)
		fmt.Println(`{"event": "ready"}`)
		for range count {
			message := <-arrived
			fmt.Printf(`{"event": "message", "topic": "%s", "payload": "%s", "qos": %d, "retain": %t}`+"\n",
				message.Topic, message.Payload, message.QoS, message.Retain)
		}
	}
	check(client.Disconnect(ctx))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
