package testserver

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// reconnectWait is short enough for a test to wait out a restart, and long
	// enough not to keep one of two cores busy with dialling a stopped server.
	reconnectWait   = 50 * time.Millisecond
	reconnectJitter = 10 * time.Millisecond

	// dialTimeout is for machines so busy that nats.go's 2 s were seen to pass.
	dialTimeout = 30 * time.Second
)

// connect connects a client that lives as long as tb; opts prevail over the
// defaults.
func connect(tb testing.TB, urls string, opts []nats.Option) *nats.Conn {
	tb.Helper()
	defaults := []nats.Option{
		nats.Name(tb.Name()),
		nats.RetryOnFailedConnect(false),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		// The default handler writes to stderr.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	nc, err := nats.Connect(urls, append(defaults, opts...)...)
	if err != nil {
		tb.Fatalf("testserver: connect to %s: %v", urls, err)
	}
	tb.Cleanup(nc.Close)
	return nc
}
