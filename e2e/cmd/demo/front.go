package main

import (
	"io"
	"net"
	"net/url"
	"sync"
)

// A front is a TCP port that leads to another one: the ports that the example
// files name lead to those that the upstreams and Traefik happen to have.
// Closed, it refuses connections as a server that is down does.
type front struct {
	from, to string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
}

// newFront opens a front at the port of 127.0.0.1; at port 0 at any free one.
func newFront(port, to string) (*front, error) {
	f := &front{from: net.JoinHostPort("127.0.0.1", port), to: to}
	return f, f.open()
}

// portOf returns the port of host:port or of a URL.
func portOf(address string) (string, error) {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	_, port, err := net.SplitHostPort(address)
	return port, err
}

// open starts to listen; on an open front it does nothing.
func (f *front) open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", f.from)
	if err != nil {
		return err
	}
	f.from = listener.Addr().String()
	f.listener, f.conns = listener, map[net.Conn]bool{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.pass(conn)
		}
	}()
	return nil
}

// close refuses new connections and breaks those there are.
func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener == nil {
		return
	}
	f.listener.Close()
	f.listener = nil
	for conn := range f.conns {
		conn.Close()
	}
}

// pass copies both ways until both ends have finished or one has broken off.
func (f *front) pass(client net.Conn) {
	defer client.Close()
	if !f.keep(client) {
		return
	}
	defer f.forget(client)
	server, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer server.Close()
	answered := make(chan struct{})
	go func() {
		io.Copy(client, server)
		client.Close() // a server that has hung up says no more
		close(answered)
	}()
	io.Copy(server, client)
	server.(*net.TCPConn).CloseWrite()
	<-answered
}

func (f *front) keep(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener == nil {
		return false
	}
	f.conns[conn] = true
	return true
}

func (f *front) forget(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
}
