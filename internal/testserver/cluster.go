package testserver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
)

const (
	// clusterAttempts bounds how often a cluster is set up anew, see [StartCluster].
	clusterAttempts = 5

	// firstElection is when the first election has ended, if it does: servers
	// stand for it within 800 ms of their start (nats-server 2.15.2).
	firstElection = 1500 * time.Millisecond
)

// Cluster starts n servers, at least two, that form one JetStream cluster. It
// returns when [ServerCluster.WaitReady] does, and shuts them down when tb ends.
func Cluster(tb testing.TB, n int, opts ...Option) *ServerCluster {
	tb.Helper()
	c, err := StartCluster(tb.TempDir(), n, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Shutdown)
	return c
}

// StartCluster is [Cluster] for code that has no [testing.TB]. The stores are
// under dir, which outlives them. The caller has to call
// [ServerCluster.Shutdown].
func StartCluster(dir string, n int, opts ...Option) (*ServerCluster, error) {
	if n < 2 {
		return nil, fmt.Errorf("testserver: a cluster of %d can't elect a leader, use Single or Start", n)
	}
	for attempt := 1; ; attempt++ {
		last := attempt == clusterAttempts
		c, err := startCluster(dir, n, opts)
		if errors.Is(err, errPortTaken) && !last {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Servers with empty logs elect a leader by the votes of all. That
		// fails when two stand at once or one stands before all are connected,
		// in one cluster of seven on two cores, and the next try comes after
		// 4 to 9 s. As nothing can be lost yet, beginning again is quicker.
		if eventually(firstElection, readyInterval, c.ready) != nil && !last {
			c.Shutdown()
			continue
		}
		if err := eventually(readyTimeout, readyInterval, c.ready); err != nil {
			c.Shutdown()
			return nil, fmt.Errorf("testserver: cluster is not ready %w", err)
		}
		return c, nil
	}
}

// ServerCluster is a cluster of embedded servers. Its methods may be called
// from several goroutines, except that those which take a [testing.TB] belong
// to the test's own.
type ServerCluster struct {
	// Servers are the cluster's members, stopped ones included. Stop and
	// restart them one by one through [Server.Stop] and [Server.Restart].
	Servers []*Server
}

// URLs lists where clients connect, separated by commas as [nats.Connect]
// takes them. Stopped servers are on it, too.
func (c *ServerCluster) URLs() string {
	urls := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// Connect is [Server.Connect] to any of the servers; a client whose server is
// stopped goes on with another one.
func (c *ServerCluster) Connect(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return connect(tb, c.URLs(), opts)
}

// Shutdown shuts all servers down at the same time: one by one, each would
// hand its leaderships to the next one to be shut down.
func (c *ServerCluster) Shutdown() {
	var wg sync.WaitGroup
	for _, s := range c.Servers {
		wg.Go(s.Shutdown)
	}
	wg.Wait()
}

// membership is what makes a server part of a cluster.
type membership struct {
	cluster string
	port    int        // for routes
	routes  []*url.URL // of all members, the server itself included
}

// startCluster starts n servers under a fresh directory in dir, without waiting
// for them to elect anyone. After an error nothing runs.
func startCluster(dir string, n int, opts []Option) (*ServerCluster, error) {
	name := "tributary-" + uuid.NewString()
	// All ports come from one call, else a server that is left to choose one
	// could choose what is meant for the next server's routes.
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, fmt.Errorf("testserver: ports for a cluster: %w", err)
	}
	clientPorts, routePorts := ports[:n], ports[n:]
	// Every server must know at its very first start how many they will be:
	// nats-server takes the number of routes for the size of the meta group,
	// would let two of five elect a leader when told of two only, and doesn't
	// start at all when told of none. That is why the servers can't be left to
	// choose their ports, as a single one is.
	routes := make([]*url.URL, n)
	for i, port := range routePorts {
		routes[i] = &url.URL{Scheme: "nats-route", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	}

	c := &ServerCluster{}
	// One after the other: each one finds those before it listening, where it
	// would try again a second later if it came too early.
	for i := range n {
		s := &Server{
			name:    fmt.Sprintf("n%d", i+1),
			dir:     filepath.Join(dir, name, fmt.Sprintf("n%d", i+1)),
			opts:    opts,
			cluster: &membership{cluster: name, port: routePorts[i], routes: routes},
			port:    clientPorts[i],
		}
		err := os.MkdirAll(s.dir, 0o755)
		if err == nil {
			err = s.start()
		}
		if err != nil {
			c.Shutdown()
			return nil, err
		}
		c.Servers = append(c.Servers, s)
	}
	return c, nil
}

// freePorts returns n different ports that nothing listens on. They are free
// until somebody takes one, so a caller must be ready to ask for others.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		// Held until all are known, else the same one could come twice.
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
