// Paho's Go client for MQTT 3.1.1 under the contract of ../README.md.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"strconv"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func main() {
	log.SetFlags(0)
	role, url, ca, topic := os.Args[1], os.Args[2], os.Args[3], os.Args[5]
	qosNumber, _ := strconv.Atoi(os.Args[6])
	count, _ := strconv.Atoi(os.Args[7])
	qos := byte(qosNumber)

	authority, err := os.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)

	options := mqtt.NewClientOptions().AddBroker(url).SetClientID(role + "-" + topic).SetProtocolVersion(4)
	options.SetTLSConfig(&tls.Config{RootCAs: pool}).SetAutoReconnect(false)
	if role == "will" {
		options.SetWill(topic, "gone", qos, false)
	}
	client := mqtt.NewClient(options)
	wait(client.Connect())
	switch role {
	case "publish":
		for number := range count {
			wait(client.Publish(topic, qos, false, fmt.Sprintf("client %d", number)))
		}
	case "retain":
		wait(client.Publish(topic, qos, true, "kept"))
	case "will":
		fmt.Println(`{"event": "ready"}`)
		select {}
	default:
		arrived := make(chan mqtt.Message, count)
		wait(client.Subscribe(topic, qos, func(_ mqtt.Client, message mqtt.Message) { arrived <- message }))
		fmt.Println(`{"event": "ready"}`)
		for range count {
			message := <-arrived
			fmt.Printf(`{"event": "message", "topic": "%s", "payload": "%s", "qos": %d, "retain": %t}`+"\n",
				message.Topic(), message.Payload(), message.Qos(), message.Retained())
		}
	}
	client.Disconnect(250)
}

func wait(token mqtt.Token) {
	token.Wait()
	check(token.Error())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
