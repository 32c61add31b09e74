// Package servers provides the NATS servers that are measured: embedded ones, the
// same in a process of its own, and one that runs elsewhere.
package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/internal/testserver"
)

// Kind is a kind of server.
type Kind string

// The kinds, by the names that rows of the report are chosen by.
const (
	Single  Kind = "single"  // one server, embedded in this process
	Cluster Kind = "cluster" // three of them
	Apart   Kind = "apart"   // one in a process of its own, whose memory is not counted as the client's
	Synced  Kind = "synced"  // the same, which syncs each write to disk before it acknowledges it
	Remote  Kind = "remote"  // what NATS_URL names
)

// clusterSize is how many servers a cluster has, and a JetStream stream on it
// replicas.
const clusterSize = 3

// Server is a running server, or a cluster of them.
type Server struct {
	Kind     Kind
	URL      string // as [nats.Connect] takes it
	Replicas int    // that a JetStream stream is to have
	Version  string // of nats-server

	closers []func() error // run backwards
}

// Start starts a server of a kind; of [Remote] it only sees whether the one that
// url names is there. The caller has to call [Server.Close].
func Start(ctx context.Context, kind Kind, url string) (*Server, error) {
	s := &Server{Kind: kind, URL: url, Replicas: 1}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a server: %w", err), s.Close())
	}
	nc, err := s.Connect()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	defer nc.Close()
	s.Version = nc.ConnectedServerVersion()
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if s.Kind == Remote {
		return nil
	}
	dir, err := os.MkdirTemp("", "tributary-bench-")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(dir) })
	switch s.Kind {
	case Single:
		single, err := testserver.Start(dir)
		if err != nil {
			return err
		}
		s.URL = single.URL()
		s.closers = append(s.closers, func() error { single.Shutdown(); return nil })
	case Cluster:
		cluster, err := testserver.StartCluster(dir, clusterSize)
		if err != nil {
			return err
		}
		s.URL, s.Replicas = cluster.URLs(), clusterSize
		s.closers = append(s.closers, func() error { cluster.Shutdown(); return nil })
	default:
		process, err := StartProcess(ctx, Order{Dir: dir, SyncAlways: s.Kind == Synced})
		if err != nil {
			return err
		}
		s.URL = process.URL
		s.closers = append(s.closers, func() error { return process.Stop(stopTimeout) })
	}
	return nil
}

// stopTimeout is how long a server's process may take to end.
const stopTimeout = 30 * time.Second

// Connect connects a client, which the caller closes.
func (s *Server) Connect() (*nats.Conn, error) {
	nc, err := nats.Connect(s.URL, nats.Name("tributary bench"), nats.Timeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", s.URL, err)
	}
	return nc, nil
}

// Close ends an embedded server, and deletes its files.
func (s *Server) Close() error {
	var errs []error
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer())
	}
	s.closers = nil
	return errors.Join(errs...)
}
