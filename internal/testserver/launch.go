package testserver

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// launchTimeout is far beyond what a start takes, some 10 ms: it is for
	// machines that are busy with something else.
	launchTimeout  = 30 * time.Second
	launchInterval = time.Millisecond

	portTimeout  = 10 * time.Second
	portInterval = 20 * time.Millisecond
)

// errPortTaken comes when a server can't listen on its client or cluster port.
var errPortTaken = errors.New("port is taken")

// launch starts a server and returns it when clients can connect, routes too
// where there are any, and JetStream is up. After an error nothing is left.
func launch(opts *server.Options) (*server.Server, error) {
	// From here on the options belong to the server, which writes into them.
	wantJetStream, wantRoutes := opts.JetStream, opts.Cluster.Port != 0

	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	failure := &failureLog{}
	ns.SetLoggerV2(failure, false, false, false)
	ns.Start()

	// Everything but the route listener is there when Start returns.
	// ReadyForConnections would do as well, but it looks every 25 ms only.
	err = eventually(launchTimeout, launchInterval, func() error {
		switch {
		case failure.first() != nil:
			return nil
		case ns.Addr() == nil:
			return errors.New("no client listener")
		case wantRoutes && ns.ClusterAddr() == nil:
			return errors.New("no route listener")
		case wantJetStream && !ns.JetStreamEnabled():
			return errors.New("JetStream is not enabled")
		}
		return nil
	})
	if failed := failure.first(); failed != nil {
		err = failed
	}
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	return ns, nil
}

// failureLog is a logger that drops everything but the reason why a server
// didn't start: nats-server tells it to nobody else.
type failureLog struct {
	mu  sync.Mutex
	err error
}

func (l *failureLog) first() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Fatalf keeps the first failure, and tells a taken port from anything else.
func (l *failureLog) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	for _, arg := range v {
		cause, ok := arg.(error)
		if !ok {
			continue
		}
		if op, ok := errors.AsType[*net.OpError](cause); ok && op.Op == "listen" {
			err = fmt.Errorf("%w: %w", errPortTaken, cause)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (*failureLog) Noticef(string, ...any) {}
func (*failureLog) Warnf(string, ...any)   {}
func (*failureLog) Errorf(string, ...any)  {}
func (*failureLog) Debugf(string, ...any)  {}
func (*failureLog) Tracef(string, ...any)  {}

// eventually calls check every interval until it returns nil, and returns the
// last error when that took longer than timeout.
func eventually(timeout, interval time.Duration, check func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", timeout, err)
		}
		time.Sleep(interval)
	}
}
