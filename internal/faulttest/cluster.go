package faulttest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const host = "127.0.0.1"

// Cluster is servers that form one JetStream cluster, or a single one.
type Cluster struct {
	Nodes []*Node

	tb     testing.TB
	routes map[[2]int]*Link // from, to

	mu   sync.Mutex
	load []*Client
}

// Option changes how servers are set up.
type Option func(*setup)

type setup struct {
	jetstream string
	rest      string
	storeOf   func(i int) string
}

// SyncAlways has the servers sync each append before they acknowledge it.
func SyncAlways() Option {
	return func(s *setup) { s.jetstream += "sync_interval: always\n" }
}

// JetStreamConfig adds lines to the servers' jetstream block.
func JetStreamConfig(lines string) Option {
	return func(s *setup) { s.jetstream += lines + "\n" }
}

// ServerConfig adds lines to the servers' configuration.
func ServerConfig(lines string) Option {
	return func(s *setup) { s.rest += lines + "\n" }
}

// StoreDirs has the server i (from 0) keep its store in dir(i) instead of in a
// temporary directory. [Node.StoreDir] is then a symbolic link to it.
func StoreDirs(dir func(i int) string) Option {
	return func(s *setup) { s.storeOf = dir }
}

// Start starts n servers, which are gone when the test ends. It returns when they
// are ready.
func Start(tb testing.TB, n int, opts ...Option) *Cluster {
	tb.Helper()
	var s setup
	for _, o := range opts {
		o(&s)
	}
	c := &Cluster{tb: tb, routes: make(map[[2]int]*Link)}
	dir := tb.TempDir()
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		node := &Node{Name: name, Dir: filepath.Join(dir, name)}
		must(tb, os.MkdirAll(node.Dir, 0o755))
		if s.storeOf != nil {
			must(tb, os.Symlink(s.storeOf(i), node.StoreDir()))
		}
		node.config = filepath.Join(node.Dir, "server.conf")
		c.Nodes = append(c.Nodes, node)
	}
	tb.Cleanup(c.shutdown)
	if n > 1 {
		for i := range n {
			// A route to itself, too: servers take the number of routes for the size of
			// the cluster, and find out.
			for j, to := range c.Nodes {
				c.routes[[2]int{i, j}] = newLink(tb, routing, func() string { return to.routeAddress() })
			}
		}
	}
	nowhere := deadAddress(tb)
	for i, node := range c.Nodes {
		must(tb, os.WriteFile(node.config, []byte(c.config(i, &s, nowhere)), 0o644))
	}
	for _, node := range c.Nodes {
		must(tb, node.Start())
	}
	c.WaitReady("")
	return c
}

// Use has what fails be reported to another test than the one that started c: a
// part of it.
func (c *Cluster) Use(tb testing.TB) { c.tb = tb }

// deadAddress is an address that never answers. Servers tell it each other as
// theirs, so that they don't find a way around the links.
func deadAddress(tb testing.TB) string {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(tb, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	tb.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// config is the configuration of server i. It chooses its ports itself, other
// ones at each start; links find it.
func (c *Cluster) config(i int, s *setup, nowhere string) string {
	node := c.Nodes[i]
	var text strings.Builder
	fmt.Fprintf(&text, "server_name: %s\nlisten: \"%s:-1\"\nhttp: \"%s:-1\"\nports_file_dir: %q\nlog_file: %q\n",
		node.Name, host, host, node.Dir, node.LogFile())
	text.WriteString(s.rest)
	fmt.Fprintf(&text, "jetstream {\nstore_dir: %q\n%s}\n", node.StoreDir(), s.jetstream)
	if len(c.Nodes) > 1 {
		var routes []string
		for j := range c.Nodes {
			routes = append(routes, fmt.Sprintf("\"nats-route://%s\"", c.routes[[2]int{i, j}].Address()))
		}
		fmt.Fprintf(&text, "cluster {\nname: faults\nlisten: \"%s:-1\"\nadvertise: %q\nno_advertise: true\nroutes: [%s]\n}\n",
			host, nowhere, strings.Join(routes, ", "))
	}
	return text.String()
}

func (n *Node) routeAddress() string {
	if p := n.current(); p != nil {
		return p.route
	}
	return ""
}

func (n *Node) clientAddress() string {
	if p := n.current(); p != nil {
		return p.client
	}
	return ""
}

func (c *Cluster) shutdown() {
	if c.tb.Failed() {
		for _, n := range c.Nodes {
			c.tb.Logf("the end of what %s says:\n%s", n.Name, n.tail())
		}
	}
	for _, n := range c.Nodes {
		_ = n.Kill()
	}
}

// Route is the link that carries the connections that server from made to server
// to, counted from 0. Between the two there are also those that were made the
// other way round: see [Cluster.Between].
func (c *Cluster) Route(from, to int) *Link { return c.routes[[2]int{from, to}] }

// Between says what becomes of what server from sends to server to, whoever made
// the connection.
func (c *Cluster) Between(from, to int, f Flow) {
	c.Route(from, to).SetUp(f)
	c.Route(to, from).SetDown(f)
}

// Isolate cuts a server off from its peers, in both directions: nothing is lost,
// but nothing arrives before [Cluster.Heal].
func (c *Cluster) Isolate(i int) {
	for j := range c.Nodes {
		if j != i {
			c.Between(i, j, Hold)
			c.Between(j, i, Hold)
		}
	}
}

// Heal ends everything that was done to connections, of servers and clients.
func (c *Cluster) Heal() {
	for _, l := range c.routes {
		l.Heal()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.load {
		for _, l := range client.Links {
			l.Heal()
		}
	}
}

// jsz is what the monitoring endpoint says of JetStream.
type jsz struct {
	Meta struct {
		Leader string `json:"leader"`
		Size   int    `json:"cluster_size"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []streamDetail `json:"stream_detail"`
	} `json:"account_details"`
}

type streamDetail struct {
	Name  string `json:"name"`
	State struct {
		Messages uint64 `json:"messages"`
		Last     uint64 `json:"last_seq"`
	} `json:"state"`
	Cluster *struct {
		Leader   string    `json:"leader"`
		Since    time.Time `json:"leader_since"` // where the leader itself says so
		Replicas []struct {
			Name    string `json:"name"`
			Current bool   `json:"current"`
			Offline bool   `json:"offline"`
			Lag     uint64 `json:"lag"`
		} `json:"replicas"`
	} `json:"cluster"`
}

func (n *Node) jsz() (*jsz, error) {
	answer := new(jsz)
	return answer, n.monitor("/jsz?streams=1", answer)
}

func (j *jsz) stream(name string) *streamDetail {
	for _, a := range j.Accounts {
		for i := range a.Streams {
			if a.Streams[i].Name == name {
				return &a.Streams[i]
			}
		}
	}
	return nil
}

// WaitReady waits until all servers that run agree on a meta leader that is one
// of them, and on a leader of the JetStream stream, if one is named, with which
// all of its replicas are up to date.
func (c *Cluster) WaitReady(stream string) {
	c.tb.Helper()
	must(c.tb, eventually("the servers are ready", func() error { return c.ready(stream) }))
}

func (c *Cluster) ready(stream string) error {
	metaLeaders, leaders := make(map[string]bool), make(map[string]bool)
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		answer, err := n.jsz()
		if err != nil {
			return err
		}
		s := answer.stream(stream)
		if stream != "" && s == nil {
			return fmt.Errorf("%s has no JetStream stream %s", n.Name, stream)
		}
		if len(c.Nodes) == 1 {
			continue
		}
		if answer.Meta.Size != len(c.Nodes) {
			return fmt.Errorf("%s knows a cluster of %d", n.Name, answer.Meta.Size)
		}
		metaLeaders[answer.Meta.Leader] = true
		if s == nil || s.Cluster == nil {
			continue
		}
		leaders[s.Cluster.Leader] = true
		for _, r := range s.Cluster.Replicas {
			if s.Cluster.Leader == n.Name && c.runs(r.Name) && (!r.Current || r.Offline) {
				return fmt.Errorf("the replica on %s is not current", r.Name)
			}
		}
	}
	for _, names := range []map[string]bool{metaLeaders, leaders} {
		if len(names) > 1 {
			return fmt.Errorf("several leaders: %v", names)
		}
		for name := range names {
			if !c.runs(name) {
				return fmt.Errorf("the leader %q does not run", name)
			}
		}
	}
	return nil
}

func (c *Cluster) runs(name string) bool {
	n := c.node(name)
	return n != nil && n.Running()
}

func (c *Cluster) node(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Leader is the server that leads the JetStream stream, counted from 0; of a
// single server that one. It waits until there is one.
func (c *Cluster) Leader(stream string) int {
	c.tb.Helper()
	return c.leader("a leader of "+stream, func(j *jsz) string {
		if s := j.stream(stream); s != nil && s.Cluster != nil {
			return s.Cluster.Leader
		}
		return ""
	})
}

// reign tells who leads the JetStream stream, and since when.
func (c *Cluster) reign(stream string) (string, error) {
	for _, n := range c.Nodes {
		answer, err := n.jsz()
		if err != nil {
			continue
		}
		if s := answer.stream(stream); s != nil && s.Cluster != nil && s.Cluster.Leader == n.Name {
			return fmt.Sprint(n.Name, " since ", s.Cluster.Since), nil
		}
	}
	return "", errors.New("none leads")
}

// MetaLeader is the server that leads the cluster, counted from 0.
func (c *Cluster) MetaLeader() int {
	c.tb.Helper()
	return c.leader("a meta leader", func(j *jsz) string { return j.Meta.Leader })
}

// leader finds the server that says of itself that it leads.
func (c *Cluster) leader(what string, of func(*jsz) string) int {
	c.tb.Helper()
	if len(c.Nodes) == 1 {
		return 0
	}
	found := 0
	must(c.tb, eventually(what, func() error {
		for i, n := range c.Nodes {
			if answer, err := n.jsz(); err == nil && of(answer) == n.Name {
				found = i
				return nil
			}
		}
		return errors.New("none says so")
	}))
	return found
}
