package testserver_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/internal/testserver"
)

func TestSingleIsReadyAndKeepsItsDataAcrossARestart(t *testing.T) {
	begin := time.Now()
	srv := testserver.Single(t)
	t.Logf("started in %v", time.Since(begin))
	nc := srv.Connect(t)
	stream := makeStream(t, nc, 1)
	for i := range 10 {
		publish(t, nc, i)
	}
	before := srv.URL()

	srv.Stop()
	if srv.Running() {
		t.Error("a stopped server says it is running")
	}
	if listens(t, srv) {
		t.Error("a stopped server listens")
	}
	srv.Stop() // does nothing

	begin = time.Now()
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	t.Logf("restarted in %v", time.Since(begin))
	if !srv.Running() || srv.URL() != before {
		t.Errorf("after the restart: running %v at %s, want true at %s", srv.Running(), srv.URL(), before)
	}
	publish(t, nc, 10) // the client of before finds the server again
	if got := messages(t, stream); got != 11 {
		t.Errorf("%d messages after the restart, want 11", got)
	}
	if err := srv.Restart(); err != nil { // of a running server
		t.Fatal(err)
	}
	if got := messages(t, stream); got != 11 {
		t.Errorf("%d messages after the second restart, want 11", got)
	}
	if _, err := os.Stat(filepath.Join(srv.StoreDir(), "jetstream")); err != nil {
		t.Error(err)
	}
}

func TestStartNeedsNoTest(t *testing.T) {
	base := runtime.NumGoroutine()
	dir := t.TempDir()
	srv, err := testserver.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown) // once more, should the test end early
	if srv.StoreDir() != dir {
		t.Errorf("store directory %s, want %s", srv.StoreDir(), dir)
	}
	srv.Shutdown()
	if listens(t, srv) {
		t.Error("listens after Shutdown")
	}
	if err := srv.Restart(); err == nil {
		t.Error("Restart after Shutdown succeeded")
	}
	waitGoroutines(t, base)
}

func TestStartTellsWhyItFailed(t *testing.T) {
	base := runtime.NumGoroutine()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := testserver.Start(file)
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("Start with a file for a directory: %v, want an error about JetStream", err)
	}
	waitGoroutines(t, base)
}

func TestRestartWaitsForItsPort(t *testing.T) {
	t.Parallel() // it mostly waits
	srv := testserver.Single(t)
	srv.Stop()
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	squatter, err := net.Listen("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { squatter.Close() })
	begin := time.Now()
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("restarted in %v on a port that was taken", took)
	}
	srv.Connect(t)
}

func TestOptionsReachTheServerAgainAtARestart(t *testing.T) {
	syncs := 0
	srv := testserver.Single(t,
		testserver.SyncAlways(),
		testserver.MaxPayload(4096),
		testserver.WithServerOptions(func(o *server.Options) {
			if o.SyncAlways {
				syncs++
			}
			o.Port = 1 // the port is not open to options
		}),
	)
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	if syncs != 2 {
		t.Errorf("options were applied %d times, want twice", syncs)
	}
	if got := srv.Connect(t).MaxPayload(); got != 4096 {
		t.Errorf("max payload %d, want 4096", got)
	}
}

func TestConsumersCountsThoseOfTheStream(t *testing.T) {
	srv := testserver.Single(t)
	stream := makeStream(t, srv.Connect(t), 1)
	if got := srv.Consumers(t, "S"); got != 0 {
		t.Errorf("%d consumers on a fresh stream", got)
	}
	for i := range 2 {
		_, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
			Name: fmt.Sprint("c", i), MemoryStorage: i == 0, AckPolicy: jetstream.AckNonePolicy,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := srv.Consumers(t, "S"); got != 2 {
		t.Errorf("%d consumers, want 2", got)
	}
	if err := stream.DeleteConsumer(t.Context(), "c0"); err != nil {
		t.Fatal(err)
	}
	if got := srv.Consumers(t, "S"); got != 1 {
		t.Errorf("%d consumers after a deletion, want 1", got)
	}
}

func TestClusterServesFromEveryMemberAtOnce(t *testing.T) {
	begin := time.Now()
	c := testserver.Cluster(t, 3)
	t.Logf("started in %v", time.Since(begin))
	for i, s := range c.Servers {
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("S", i)
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}, Replicas: 3})
		if err != nil {
			t.Fatalf("through %s: %v", s.Name(), err)
		}
		if _, err := js.Publish(t.Context(), name, []byte("x")); err != nil {
			t.Fatalf("through %s: %v", s.Name(), err)
		}
		begin := time.Now()
		c.WaitStream(t, name)
		t.Logf("%s: replicas current after %v", name, time.Since(begin))
	}
}

func TestClusterSurvivesTheLossOfEachMember(t *testing.T) {
	t.Parallel() // it mostly waits
	c := testserver.Cluster(t, 3)
	nc := c.Connect(t)
	stream := makeStream(t, nc, 3)
	publish(t, nc, 0)

	leader := c.StreamLeader(t, "S")
	begin := time.Now()
	leader.Stop()
	t.Logf("stopped the stream's leader in %v", time.Since(begin))
	begin = time.Now()
	publish(t, nc, 1)
	t.Logf("published again after %v", time.Since(begin))
	if now := c.StreamLeader(t, "S"); now == leader {
		t.Errorf("%s leads though it is stopped", leader.Name())
	}
	c.WaitReady(t) // without the one that is stopped
	begin = time.Now()
	restart(t, c, leader)
	t.Logf("restarted and current after %v", time.Since(begin))

	for i, s := range c.Servers {
		s.Stop()
		publish(t, nc, 2+i)
		restart(t, c, s)
	}
	if got := messages(t, stream); got != 5 {
		t.Errorf("%d messages, want 5", got)
	}
}

func TestClusterComesBackAfterAllWereStopped(t *testing.T) {
	t.Parallel() // it mostly waits
	c := testserver.Cluster(t, 3)
	nc := c.Connect(t)
	stream := makeStream(t, nc, 3)
	publish(t, nc, 0)
	for _, s := range c.Servers {
		s.Stop()
	}
	begin := time.Now()
	for _, s := range c.Servers {
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	c.WaitReady(t)
	c.WaitStream(t, "S")
	t.Logf("all back after %v", time.Since(begin))
	publish(t, nc, 1)
	if got := messages(t, stream); got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
}

func TestClusterConsumersCountsEachOnce(t *testing.T) {
	c := testserver.Cluster(t, 3)
	stream := makeStream(t, c.Connect(t), 3)
	for i, replicas := range []int{1, 3} {
		_, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
			Name: fmt.Sprint("c", i), Replicas: replicas, AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Consumers(t, "S"); got != 2 {
		t.Errorf("%d consumers, want 2", got)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	base := runtime.NumGoroutine()
	var servers []*testserver.Server
	t.Run("servers", func(t *testing.T) {
		single, c := testserver.Single(t), testserver.Cluster(t, 3)
		makeStream(t, single.Connect(t), 1)
		makeStream(t, c.Connect(t), 3)
		c.Servers[0].Stop()
		servers = append(c.Servers, single)
	})
	for _, s := range servers {
		if s.Running() || listens(t, s) {
			t.Errorf("%s at %s is still there", s.Name(), s.URL())
		}
	}
	waitGoroutines(t, base)
}

// makeStream makes the JetStream stream S, which takes s.>.
func makeStream(t *testing.T, nc *nats.Conn, replicas int) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "S", Subjects: []string{"s.>"}, Replicas: replicas, Storage: jetstream.FileStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// publish publishes message i, once, until it is acknowledged.
func publish(t *testing.T, nc *nats.Conn, i int) {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		// The id makes a repetition harmless whose first try did arrive.
		_, err := js.Publish(t.Context(), "s.x", []byte("x"), jetstream.WithMsgID(fmt.Sprint(i)))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("message %d was never acknowledged: %v", i, err)
		}
	}
}

func messages(t *testing.T, stream jetstream.Stream) uint64 {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var info *jetstream.StreamInfo
		if info, err = stream.Info(t.Context()); err == nil {
			return info.State.Msgs
		}
	}
	t.Fatal(err)
	return 0
}

func restart(t *testing.T, c *testserver.ServerCluster, s *testserver.Server) {
	t.Helper()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	c.WaitReady(t)
	c.WaitStream(t, "S")
}

func listens(t *testing.T, s *testserver.Server) bool {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// waitGoroutines waits until no more goroutines are left than there were.
func waitGoroutines(t *testing.T, base int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > base; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d at the start\n%s", runtime.NumGoroutine(), base, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
