package testbed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// Nameserver is a DNS server for names that move. It is at port 53 of an address of
// 127.53.0.0/24, for resolvers ask at no other port: that takes root.
type Nameserver struct {
	conn net.PacketConn
	done chan struct{}

	mu        sync.Mutex
	addresses map[string]netip.Addr
}

// NewNameserver starts a server that knows no name.
func NewNameserver() (*Nameserver, error) {
	var failures []error
	for last := byte(1); last < 250; last++ {
		conn, err := net.ListenPacket("udp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 53, 0, last}), 53).String())
		if err == nil {
			n := &Nameserver{conn: conn, done: make(chan struct{}), addresses: map[string]netip.Addr{}}
			go n.serve()
			return n, nil
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("testbed: name server: %w", errors.Join(failures[0], failures[len(failures)-1]))
}

// Set has the name lead to the address from now on. The answer says that it may be kept
// for a second.
func (n *Nameserver) Set(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses[strings.ToLower(name)+"."] = netip.MustParseAddr(address)
}

// IP is where the server listens.
func (n *Nameserver) IP() string { return n.conn.LocalAddr().(*net.UDPAddr).IP.String() }

// Stop ends the server.
func (n *Nameserver) Stop() {
	n.conn.Close()
	<-n.done
}

func (n *Nameserver) serve() {
	defer close(n.done)
	packet := make([]byte, 4<<10)
	for {
		size, from, err := n.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		if answer := n.answer(packet[:size]); answer != nil {
			n.conn.WriteTo(answer, from)
		}
	}
}

// answer returns the answer to a query of one question (RFC 1035, section 4.1); nil for
// what is none. That there is no address of another kind than IPv4 is an answer too.
func (n *Nameserver) answer(query []byte) []byte {
	const head = 12 // bytes
	if len(query) < head || binary.BigEndian.Uint16(query[4:]) != 1 {
		return nil
	}
	name, at := "", head
	for at < len(query) && query[at] > 0 {
		end := at + 1 + int(query[at])
		if end >= len(query) {
			return nil
		}
		name += string(query[at+1:end]) + "."
		at = end
	}
	end := at + 5 // the root's label, a type and a class
	if end > len(query) {
		return nil
	}
	const typeA, noSuchName = 1, 3
	n.mu.Lock()
	address, known := n.addresses[strings.ToLower(name)]
	n.mu.Unlock()

	answer := append([]byte{query[0], query[1], 0x84 | query[2]&1, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[head:end]...)
	switch {
	case !known:
		answer[3] |= noSuchName
	case binary.BigEndian.Uint16(query[at+1:]) == typeA:
		answer[7] = 1
		answer = append(answer, 0xc0, head, 0, typeA, 0, 1, 0, 0, 0, 1, 0, 4) // the name is the question's; it may be kept for a second
		answer = append(answer, address.AsSlice()...)
	}
	return answer
}
