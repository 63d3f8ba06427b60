package testbed

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// RawUpstream is a TCP server for what an HTTP server would not do: reset
// connections, answer garbage, stop in the middle.
type RawUpstream struct {
	listener net.Listener
	handle   func(net.Conn)
	count    atomic.Int64
	done     sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	stopped bool
}

// NewRawUpstream starts a server on a free port of 127.0.0.1 that calls handle
// for each connection, in a goroutine of its own, and closes the connection
// when it returns. With a nil handle connections are left in the kernel's
// queue: clients connect, and nobody ever reads or answers.
func NewRawUpstream(handle func(net.Conn)) (*RawUpstream, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("testbed: raw upstream: %w", err)
	}
	u := &RawUpstream{listener: listener, handle: handle, conns: map[net.Conn]struct{}{}}
	if handle != nil {
		u.done.Add(1)
		go u.accept()
	}
	return u, nil
}

func (u *RawUpstream) accept() {
	defer u.done.Done()
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return
		}
		if !u.hold(conn) {
			conn.Close()
			return
		}
		u.count.Add(1)
		u.done.Add(1)
		go func() {
			defer u.done.Done()
			defer u.letGo(conn)
			u.handle(conn)
		}()
	}
}

func (u *RawUpstream) hold(conn net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return false
	}
	u.conns[conn] = struct{}{}
	return true
}

func (u *RawUpstream) letGo(conn net.Conn) {
	conn.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.conns, conn)
}

// Addr returns host:port.
func (u *RawUpstream) Addr() string { return u.listener.Addr().String() }

// URL returns the address with the scheme http.
func (u *RawUpstream) URL() string { return "http://" + u.Addr() }

// Count returns how many connections were accepted.
func (u *RawUpstream) Count() int { return int(u.count.Load()) }

// Open returns how many connections are with handle.
func (u *RawUpstream) Open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns)
}

// Stop closes the listener and all connections and waits for handle to return
// everywhere. A second call does nothing.
func (u *RawUpstream) Stop() {
	u.listener.Close()
	u.mu.Lock()
	u.stopped = true
	for conn := range u.conns {
		conn.Close()
	}
	u.mu.Unlock()
	u.done.Wait()
}
