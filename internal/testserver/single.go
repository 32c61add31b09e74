// Package testserver runs nats-server inside the test process, with JetStream.
//
// # Basics
//
// [Single] starts one server for a test and [Cluster] several that replicate;
// both are ready when they return and gone, goroutines included, when the test
// ends. [Start] and [StartCluster] are for code that has no [testing.TB], such as
// an example.
//
//	srv := testserver.Single(t)
//	nc := srv.Connect(t)
//
// A server can be stopped and started again on the same port and store, so a
// client with the old URL finds it: [Server.Stop], [Server.Restart].
//
// # Errors
//
// What changes a server's life returns an error, so that it works without a
// test and from any goroutine. What waits for or looks at something on behalf
// of a test takes a [testing.TB] and ends the test with the reason when it
// can't; like [testing.TB.FailNow] it belongs to the test's own goroutine.
//
// # Caveats
//
// There is no hard kill. An embedded server shares the test's process, whose
// page cache survives it, so every way of stopping one here is clean: leaders
// hand over first and the store is closed. Tests of power loss need a process
// of their own.
package testserver

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// host is the loopback address itself: "localhost" may be two addresses,
	// and a port that is free on one of them may be taken on the other.
	host = "127.0.0.1"

	// account is the account of clients that don't log in.
	account = server.DEFAULT_GLOBAL_ACCOUNT
)

// Single starts one server for tb, with its store in a temporary directory.
// It is shut down when tb ends.
func Single(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	// The directory comes first: clean-ups run backwards, and the server must
	// be gone before its files are.
	dir := tb.TempDir()
	s, err := Start(dir, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Shutdown)
	return s
}

// Start starts one server on a free loopback port with its store under dir,
// which outlives it. The caller has to call [Server.Shutdown].
func Start(dir string, opts ...Option) (*Server, error) {
	s := &Server{name: "tributary", dir: dir, opts: opts, port: server.RANDOM_PORT}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// Server is one embedded nats-server, on its own or in a [ServerCluster]. Its
// methods may be called from several goroutines.
type Server struct {
	name    string
	dir     string
	opts    []Option
	cluster *membership // nil for a server on its own

	life   sync.Mutex // held while starting or stopping
	port   int        // guarded by life; RANDOM_PORT until it first listened
	closed bool       // guarded by life

	url     string // written before the server is handed out, then constant
	node    string // what the meta and stream groups call it; like url
	running atomic.Pointer[server.Server]
}

// Name is the server's name, by which JetStream calls it as a leader or a peer.
func (s *Server) Name() string { return s.name }

// URL is where clients connect. It stays the same across restarts, and is
// answered while the server is stopped, too.
func (s *Server) URL() string { return s.url }

// StoreDir is the server's store directory. JetStream keeps its files in the
// directory jetstream in it; they may be changed while the server is stopped.
func (s *Server) StoreDir() string { return s.dir }

// Running says whether the server is up.
func (s *Server) Running() bool { return s.running.Load() != nil }

// Connect connects a client to s, which is closed when tb ends. The client
// reconnects for ever and quickly; in a cluster it may reconnect to another
// server, unless opts has [nats.IgnoreDiscoveredServers]. What opts says
// prevails.
func (s *Server) Connect(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return connect(tb, s.URL(), opts)
}

// Consumers counts the consumers that the JetStream stream has on s, without
// those the server made itself for mirrors and sources. It fails tb when s
// doesn't hold the JetStream stream, so that a misspelt name is no proof that
// nothing was left behind.
//
// In a cluster a consumer lives on some of the servers only, see
// [ServerCluster.Consumers].
func (s *Server) Consumers(tb testing.TB, stream string) int {
	tb.Helper()
	detail := s.stream(stream)
	if detail == nil {
		tb.Fatalf("testserver: %s holds no JetStream stream %q", s.name, stream)
	}
	return len(detail.Consumer)
}

// Stop shuts the server down and waits until it is gone: in a cluster its
// leaderships move first, and its store is closed. [Server.Restart] brings it
// back. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.life.Lock()
	defer s.life.Unlock()
	s.stop()
}

// Restart starts the server again with the same options, store and ports, and
// stops it first if it runs. When it returns nil, clients can connect and the
// JetStream streams of a server on its own are recovered; a cluster's are when
// [ServerCluster.WaitReady] says so, since that takes a quorum of servers.
func (s *Server) Restart() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return fmt.Errorf("testserver: %s was shut down for good", s.name)
	}
	s.stop()

	// Between a stop and a start anything on this machine may get the port,
	// most likely as the source of a short connection. So wait for it a while.
	var err error
	for deadline := time.Now().Add(portTimeout); time.Now().Before(deadline); time.Sleep(portInterval) {
		if err = s.start(); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// Shutdown is [Server.Stop] for good.
func (s *Server) Shutdown() {
	s.life.Lock()
	defer s.life.Unlock()
	s.closed = true
	s.stop()
}

// start must be called with life held, or before s is shared.
func (s *Server) start() error {
	ns, err := launch(s.options())
	if err != nil {
		return fmt.Errorf("testserver: start %s: %w", s.name, err)
	}
	s.port = ns.Addr().(*net.TCPAddr).Port
	if s.url == "" {
		s.url, s.node = ns.ClientURL(), ns.Node()
	}
	s.running.Store(ns)
	return nil
}

// stop must be called with life held.
func (s *Server) stop() {
	// Whoever asks for the running server from now on finds none, instead of
	// one that is half gone.
	if ns := s.running.Swap(nil); ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}

// stream describes the JetStream stream as s has it, consumers included; nil
// when s doesn't run or doesn't hold it.
func (s *Server) stream(name string) *server.StreamDetail {
	ns := s.running.Load()
	if ns == nil {
		return nil
	}
	// The error says that the account has no JetStream stream yet, or that the
	// server went down meanwhile.
	detail, err := ns.JszAccount(&server.JSzOptions{Account: account, Streams: true, Consumer: true})
	if err != nil {
		return nil
	}
	for i := range detail.Streams {
		if detail.Streams[i].Name == name {
			return &detail.Streams[i]
		}
	}
	return nil
}
