package faulttest

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Client is a connection of which each way to a server is a link of its own.
type Client struct {
	Conn  *nats.Conn
	Links []*Link // to each server
}

// NewClient connects a client that is closed when the test ends. [Cluster.Heal]
// heals its links.
func (c *Cluster) NewClient(tb testing.TB, opts ...nats.Option) *Client {
	tb.Helper()
	client := &Client{}
	var urls []string
	for _, n := range c.Nodes {
		l := newLink(tb, clients, n.clientAddress)
		client.Links = append(client.Links, l)
		urls = append(urls, "nats://"+l.Address())
	}
	all := append([]nats.Option{
		nats.Name(tb.Name()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		nats.IgnoreDiscoveredServers(),
		nats.Timeout(2 * time.Second),
		// A server that hangs is noticed soon; by default that takes 4 to 6 minutes.
		nats.PingInterval(time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)
	must(tb, eventually("a client connects", func() (err error) {
		client.Conn, err = nats.Connect(strings.Join(urls, ","), all...)
		return err
	}))
	tb.Cleanup(client.Close)
	c.mu.Lock()
	c.load = append(c.load, client)
	c.mu.Unlock()
	return client
}

// EachLink does something to the links to all servers.
func (c *Client) EachLink(do func(*Link)) {
	for _, l := range c.Links {
		do(l)
	}
}

// Close closes the connection, and its links.
func (c *Client) Close() {
	c.Conn.Close()
	c.EachLink((*Link).Close)
}
