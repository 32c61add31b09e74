package faulttest

import (
	"bufio"
	"net"
	"sync"
	"testing"
	"time"
)

// Flow is what becomes of the bytes that go one way over a [Link].
type Flow int

const (
	// Pass lets them through.
	Pass Flow = iota

	// Hold keeps them until the link is healed, as a network does that is divided
	// for a while: TCP sends again what was not received.
	Hold

	// Drop loses them, as a network does that is divided for longer than TCP
	// tries. A connection that lost any ends when the link is healed.
	Drop
)

// String returns "pass", "hold" or "drop".
func (f Flow) String() string { return [...]string{"pass", "hold", "drop"}[f] }

// protocol is what a link understands of what it carries.
type protocol int

const (
	routing protocol = iota // bytes
	clients                 // NATS operations of clients
)

// Link carries the connections that one party makes to another. Up is from the
// one that connects, down from the other. Its methods may be called from several
// goroutines.
type Link struct {
	protocol protocol
	listener net.Listener
	target   func() string // host and port; empty: nobody listens
	wg       sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond
	up, down Flow
	delay    time.Duration
	refusing bool
	closed   bool
	rule     Rule
	carried  map[*carried]struct{}
	cuts     int // connections that rules cut
}

// carried is a connection on a link.
type carried struct {
	link   *Link
	client net.Conn
	server net.Conn
	holed  bool // bytes were lost
	ended  bool

	writing sync.Mutex        // one operation at a time goes to the client
	subs    map[string]string // what the client subscribed to, by subject: its number
	cutAt   map[string]bool   // answers that end the connection instead of arriving
}

func newLink(tb testing.TB, p protocol, target func() string) *Link {
	tb.Helper()
	l := &Link{protocol: p, target: target, carried: make(map[*carried]struct{})}
	l.changed = sync.NewCond(&l.mu)
	var err error
	l.listener, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(tb, err)
	l.wg.Go(l.accept)
	tb.Cleanup(l.Close)
	return l
}

// Close ends the link and all that it carries.
func (l *Link) Close() {
	l.set(func() {
		l.closed = true
		l.cutLocked()
	})
	l.listener.Close()
	l.wg.Wait()
}

// Address is where to connect to, host and port.
func (l *Link) Address() string { return l.listener.Addr().String() }

// SetUp says what becomes of what the party that connects sends from now on.
func (l *Link) SetUp(f Flow) { l.set(func() { l.up = f }) }

// SetDown says what becomes of what is sent to the party that connects.
func (l *Link) SetDown(f Flow) { l.set(func() { l.down = f }) }

// Slow delays everything, in both directions, by d each.
func (l *Link) Slow(d time.Duration) { l.set(func() { l.delay = d }) }

// Refuse cuts all connections, and new ones as soon as they are made.
func (l *Link) Refuse() { l.set(func() { l.refusing = true; l.cutLocked() }) }

// Cut ends all connections; new ones can be made.
func (l *Link) Cut() { l.set(l.cutLocked) }

// On has a rule decide about each message that a client publishes from now on;
// nil: none.
func (l *Link) On(rule Rule) { l.set(func() { l.rule = rule }) }

// Heal ends whatever was done to the link.
func (l *Link) Heal() {
	l.set(func() {
		l.up, l.down, l.delay, l.refusing, l.rule = Pass, Pass, 0, false, nil
		for c := range l.carried {
			if c.holed {
				c.endLocked()
			}
		}
	})
}

// Cuts is how many connections rules have cut.
func (l *Link) Cuts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts
}

func (l *Link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.changed.Broadcast()
}

func (l *Link) cutLocked() {
	for c := range l.carried {
		c.endLocked()
	}
	l.changed.Broadcast()
}

// endLocked ends the connection; the link is locked.
func (c *carried) endLocked() {
	c.ended = true
	delete(c.link.carried, c)
	c.client.Close()
	c.server.Close()
}

// end ends the connection.
func (c *carried) end() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.endLocked()
	c.link.changed.Broadcast()
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.carry(client) })
	}
}

// carry makes the connection that the one accepted stands for.
func (l *Link) carry(client net.Conn) {
	target := l.target()
	l.mu.Lock()
	refused := l.refusing || l.closed || target == ""
	l.mu.Unlock()
	if refused {
		client.Close()
		return
	}
	server, err := net.DialTimeout("tcp", target, 2*time.Second)
	if err != nil {
		client.Close()
		return
	}
	c := &carried{link: l, client: client, server: server, subs: make(map[string]string), cutAt: make(map[string]bool)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.refusing {
		client.Close()
		server.Close()
		return
	}
	l.carried[c] = struct{}{}
	l.wg.Go(func() { c.pump(true) })
	l.wg.Go(func() { c.pump(false) })
}

// piece is what is sent on at once, not before its time.
type piece struct {
	raw  []byte
	due  time.Time
	last bool // the connection ends behind it
}

// pump sends on what comes from one side.
func (c *carried) pump(up bool) {
	defer c.end()
	from, to := c.server, c.client
	if up {
		from, to = c.client, c.server
	}
	pieces := make(chan piece, 256)
	c.link.wg.Go(func() {
		// Whoever reads is never left waiting for room.
		defer func() {
			for range pieces {
			}
		}()
		c.send(to, up, pieces)
	})
	defer close(pieces)
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		var p piece
		raw, err := c.read(in, up, &p)
		if err != nil {
			return
		}
		if len(raw) == 0 && !p.last {
			continue
		}
		c.link.mu.Lock()
		delay := c.link.delay
		c.link.mu.Unlock()
		if delay > 0 {
			p.due = time.Now().Add(delay)
		}
		p.raw = raw
		pieces <- p
	}
}

// send writes pieces when they are due, and when their direction is open.
func (c *carried) send(to net.Conn, up bool, pieces <-chan piece) {
	defer c.end()
	out := bufio.NewWriterSize(to, 64<<10)
	for p := range pieces {
		if wait := time.Until(p.due); !p.due.IsZero() && wait > 0 {
			time.Sleep(wait)
		}
		if !c.open(up) {
			continue
		}
		if !up {
			c.writing.Lock()
		}
		_, err := out.Write(p.raw)
		if err == nil && (len(pieces) == 0 || p.last || c.link.protocol == clients && !up) {
			err = out.Flush()
		}
		if !up {
			c.writing.Unlock()
		}
		if err != nil || p.last {
			return
		}
	}
}

// open waits while the direction is held up, and reports whether what is to be
// sent may go on.
func (c *carried) open(up bool) bool {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		flow := l.down
		if up {
			flow = l.up
		}
		switch {
		case c.ended, flow == Drop:
			c.holed = true
			return false
		case flow == Pass:
			return true
		}
		l.changed.Wait()
	}
}

// read reads what is sent on next; none where it goes no further. It may mark it
// as the last.
func (c *carried) read(in *bufio.Reader, up bool, p *piece) ([]byte, error) {
	if c.link.protocol == clients {
		return c.readOperation(in, up, p)
	}
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	raw := make([]byte, in.Buffered())
	_, err := in.Read(raw)
	return raw, err
}
