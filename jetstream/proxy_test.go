package jetstream_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/internal/testserver"
)

// fate is what becomes of a message that a client publishes through a [proxy].
type fate int

const (
	arrives fate = iota // it is passed on
	swallow             // it gets lost, and the connection goes on
	severed             // the connection breaks before it is passed on
)

// proxy stands between a client and a server. It knows where the messages that
// a client publishes begin and end.
type proxy struct {
	t        testing.TB
	listener net.Listener
	server   string
	wg       sync.WaitGroup

	mu        sync.Mutex
	answering *sync.Cond // answers has changed
	answers   answers
	rule      func(subject string) fate
	published []string // subjects
	refusing  bool
	deaf      bool // nothing that clients send is read
	closed    bool
	conns     []net.Conn
}

// answers is what becomes of what the server sends.
type answers int

const (
	flowing  answers = iota // they are passed on
	withheld                // they wait
	lost                    // they are dropped
)

// newProxy starts a proxy to a server, which ends with the test.
func newProxy(t testing.TB, s *testserver.Server) *proxy {
	t.Helper()
	return newProxyTo(t, s.URL())
}

func newProxyTo(t testing.TB, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l, server: strings.TrimPrefix(url, "nats://")}
	p.answering = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// connect connects a client through the proxy, and only through it.
func (p *proxy) connect(opts ...nats.Option) *nats.Conn {
	p.t.Helper()
	all := append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(1e7), nats.ReconnectJitter(1e6, 1e6),
		nats.IgnoreDiscoveredServers(), nats.Timeout(patience), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)
	nc, err := nats.Connect("nats://"+p.listener.Addr().String(), all...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

// cut breaks all connections, and lets new ones work as usual.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

func (p *proxy) cutLocked() {
	for _, c := range p.conns {
		c.Close()
	}
	p.conns, p.rule, p.answers, p.deaf = nil, nil, flowing, false
	p.answering.Broadcast()
}

// refuse breaks all connections and takes no new ones, until it is called with
// false.
func (p *proxy) refuse(refusing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = refusing
	p.cutLocked()
}

// set says what becomes of answers from now on.
func (p *proxy) set(a answers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = a
	p.answering.Broadcast()
}

// stopReading has what clients send remain where it is, until the next cut.
func (p *proxy) stopReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = true
}

// on sets the rule for what is published, until the next cut. It is called with
// the proxy locked, and may set p.answers.
func (p *proxy) on(rule func(subject string) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// take returns the subjects published since it was last called.
func (p *proxy) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.published
	p.published = nil
	return taken
}

// seen counts the messages published on subjects with a prefix.
func (p *proxy) seen(prefix string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, subject := range p.published {
		if strings.HasPrefix(subject, prefix) {
			n++
		}
	}
	return n
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		p.mu.Lock()
		if err != nil || p.refusing || p.closed {
			client.Close()
			if err == nil {
				server.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.wg.Go(func() { p.up(client, server) })
		p.wg.Go(func() { p.down(client, server) })
	}
}

// down passes on what the server sends.
func (p *proxy) down(client, server net.Conn) {
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.answers == withheld && slices.Contains(p.conns, client) {
			p.answering.Wait()
		}
		drop := p.answers == lost
		p.mu.Unlock()
		if drop {
			continue
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// up passes on what the client sends, message by message.
func (p *proxy) up(client, server net.Conn) {
	defer server.Close()
	in := bufio.NewReaderSize(client, 64<<10)
	out := bufio.NewWriterSize(server, 64<<10)
	for {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		p.mu.Lock()
		for p.deaf && slices.Contains(p.conns, client) {
			p.answering.Wait()
		}
		p.mu.Unlock()
		subject, raw, err := readOperation(in)
		if err != nil {
			return
		}
		if subject != "" {
			switch p.judge(subject) {
			case swallow:
				continue
			case severed:
				out.Flush()
				p.cut()
				return
			}
		}
		if _, err := out.Write(raw); err != nil {
			return
		}
	}
}

func (p *proxy) judge(subject string) fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published = append(p.published, subject)
	if p.rule == nil {
		return arrives
	}
	return p.rule(subject)
}

// readOperation reads one operation of a client's, and the subject of one that
// publishes.
func readOperation(in *bufio.Reader) (subject string, raw []byte, err error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return "", nil, err
	}
	fields := strings.Fields(string(line))
	if len(fields) < 3 || fields[0] != "PUB" && fields[0] != "HPUB" {
		return "", line, nil
	}
	size, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return "", nil, fmt.Errorf("%q: %w", line, err)
	}
	raw = append(line, make([]byte, size+2)...)
	_, err = io.ReadFull(in, raw[len(line):])
	return fields[1], raw, err
}
