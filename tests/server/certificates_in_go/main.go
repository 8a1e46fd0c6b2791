// Does Go's crypto/tls take what `tidewire certs make` made? Arguments: the directory, a client, the server's names.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

func main() {
	directory, client, names := os.Args[1], os.Args[2], os.Args[3:]
	authority := read(filepath.Join(directory, "ca.pem"))
	root, err := x509.ParseCertificate(block(authority))
	check(err)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	list, err := x509.ParseRevocationList(block(read(filepath.Join(directory, "crl.pem"))))
	check(err)
	check(list.CheckSignatureFrom(root))
	for _, name := range names {
		check(handshake(
			&tls.Config{Certificates: pair(directory, "server"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots},
			&tls.Config{Certificates: pair(directory, client), RootCAs: roots, ServerName: name},
		))
		fmt.Println(name)
	}
	if handshake(
		&tls.Config{Certificates: pair(directory, "server")},
		&tls.Config{RootCAs: roots, ServerName: "elsewhere.example"},
	) == nil {
		panic("a name that the server does not have was taken")
	}
}

func handshake(forServer, forClient *tls.Config) error {
	near, far := net.Pipe()
	server, client := tls.Server(far, forServer), tls.Client(near, forClient)
	answered := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte("."))
		}
		far.Close()
		answered <- err
	}()
	err := client.Handshake()
	if err == nil {
		_, err = client.Read(make([]byte, 1))
	}
	near.Close()
	if said := <-answered; err == nil {
		err = said
	}
	return err
}

func pair(directory, name string) []tls.Certificate {
	both, err := tls.LoadX509KeyPair(filepath.Join(directory, name+".pem"), filepath.Join(directory, name+".key"))
	check(err)
	return []tls.Certificate{both}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	check(err)
	return data
}

func block(data []byte) []byte {
	found, _ := pem.Decode(data)
	return found.Bytes
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
