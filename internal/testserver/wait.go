package testserver

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// readyTimeout leaves room for several elections: a vote that nobody wins
	// is repeated after 4 to 9 s (nats-server 2.15.2).
	readyTimeout  = time.Minute
	readyInterval = 10 * time.Millisecond
)

// WaitReady waits until the running servers can do JetStream's work: they agree
// on a meta leader, which knows all of them to be online, and each one is
// healthy, that is, has caught up with the meta leader and with the leader of
// every JetStream stream and consumer that it holds. It takes a quorum of
// running servers. It is what to call after [Server.Restart].
func (c *ServerCluster) WaitReady(tb testing.TB) {
	tb.Helper()
	if err := eventually(readyTimeout, readyInterval, c.ready); err != nil {
		tb.Fatalf("testserver: cluster is not ready %v", err)
	}
}

// StreamLeader returns the server that leads the JetStream stream. It waits for
// an election to end, and fails tb when there is no leader for a minute.
func (c *ServerCluster) StreamLeader(tb testing.TB, stream string) *Server {
	tb.Helper()
	var leader *Server
	err := eventually(readyTimeout, readyInterval, func() (err error) {
		leader, _, err = c.streamLeader(stream)
		return err
	})
	if err != nil {
		tb.Fatalf("testserver: JetStream stream %q %v", stream, err)
	}
	return leader
}

// WaitStream waits until the JetStream stream has a leader and each of its
// replicas on a running server holds what the leader does. Replicas on stopped
// servers don't count. It may wait for long while somebody writes.
func (c *ServerCluster) WaitStream(tb testing.TB, stream string) {
	tb.Helper()
	err := eventually(readyTimeout, readyInterval, func() error { return c.streamCurrent(stream) })
	if err != nil {
		tb.Fatalf("testserver: JetStream stream %q %v", stream, err)
	}
}

// Consumers counts the consumers that the JetStream stream has anywhere in the
// cluster, each once however many replicas it has. It fails tb when no running
// server holds the JetStream stream. A deletion takes a moment to get to every
// server, so whoever expects none should ask again.
func (c *ServerCluster) Consumers(tb testing.TB, stream string) int {
	tb.Helper()
	names, found := make(map[string]bool), false
	for _, s := range c.Servers {
		detail := s.stream(stream)
		if detail == nil {
			continue
		}
		found = true
		for _, consumer := range detail.Consumer {
			names[consumer.Name] = true
		}
	}
	if !found {
		tb.Fatalf("testserver: no running server holds a JetStream stream %q", stream)
	}
	return len(names)
}

// ready returns why the cluster is not ready, or nil.
func (c *ServerCluster) ready() error {
	var running []string
	var leaders []*server.Server
	for _, s := range c.Servers {
		ns := s.running.Load()
		if ns == nil {
			continue
		}
		running = append(running, s.name)
		if ns.JetStreamIsLeader() {
			leaders = append(leaders, ns)
		}
		// Of a follower without a leader, JetStreamIsCurrent says that it is
		// current; Healthz doesn't.
		if health := ns.Healthz(nil); health.Status != "ok" {
			return fmt.Errorf("%s is %s: %s", s.name, health.Status, health.Error)
		}
	}
	if len(leaders) != 1 {
		return fmt.Errorf("%d of %d servers claim to be the meta leader", len(leaders), len(running))
	}
	// A server that the leader hasn't heard from yet gets no replicas.
	peers := leaders[0].JetStreamClusterPeers()
	for _, name := range running {
		if !slices.Contains(peers, name) {
			return fmt.Errorf("the meta leader has not heard from %s", name)
		}
	}
	return nil
}

// streamLeader returns the leader of the JetStream stream and how the leader
// describes it.
func (c *ServerCluster) streamLeader(stream string) (*Server, *server.StreamDetail, error) {
	for _, s := range c.Servers {
		ns := s.running.Load()
		if ns == nil || !ns.JetStreamIsStreamLeader(account, stream) {
			continue
		}
		// A leader may be known before it has made its store.
		if detail := s.stream(stream); detail != nil {
			return s, detail, nil
		}
	}
	return nil, nil, errors.New("has no leader")
}

// streamCurrent returns why a replica is not current, or nil.
func (c *ServerCluster) streamCurrent(stream string) error {
	leader, want, err := c.streamLeader(stream)
	if err != nil {
		return err
	}
	for _, peer := range want.Cluster.Replicas {
		// By node, not by name: the leader doesn't know the name of a server
		// that it has not heard from since it came up itself.
		i := slices.IndexFunc(c.Servers, func(s *Server) bool { return s.node == peer.Peer })
		if i < 0 {
			return fmt.Errorf("has a replica outside of the cluster: %s", peer.Name)
		}
		s := c.Servers[i]
		ns := s.running.Load()
		if ns == nil {
			continue
		}
		if !peer.Current || peer.Offline {
			return fmt.Errorf("has a replica on %s that its leader %s takes for outdated", s.name, leader.name)
		}
		if !ns.JetStreamIsStreamCurrent(account, stream) {
			return fmt.Errorf("has a replica on %s that takes itself for outdated", s.name)
		}
		// A follower takes itself for current as long as it has not heard of
		// what was committed since.
		got := s.stream(stream)
		if got == nil {
			return fmt.Errorf("has no replica on %s yet", s.name)
		}
		if got.State.LastSeq < want.State.LastSeq || got.State.FirstSeq < want.State.FirstSeq {
			return fmt.Errorf("has a replica on %s with the sequences %d to %d, its leader %s has %d to %d", s.name,
				got.State.FirstSeq, got.State.LastSeq, leader.name, want.State.FirstSeq, want.State.LastSeq)
		}
	}
	return nil
}
