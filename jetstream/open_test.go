package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// configOf is the configuration that the server has of a JetStream stream.
func configOf(t *testing.T, js natsjs.JetStream, name string) natsjs.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

func TestOpenMakesAJetStreamStreamThatLosesNothing(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	cfg := configOf(t, s.js, "EVENTS")
	for _, c := range []struct {
		setting string
		ok      bool
	}{
		{"subjects", slices.Equal(cfg.Subjects, []string{"events.>"})},
		{"retention", cfg.Retention == natsjs.LimitsPolicy},
		{"storage", cfg.Storage == natsjs.FileStorage},
		{"discard", cfg.Discard == natsjs.DiscardNew && !cfg.DiscardNewPerSubject},
		{"max age", cfg.MaxAge == 0},
		{"max messages", cfg.MaxMsgs == -1 && cfg.MaxMsgsPerSubject == -1},
		{"max bytes", cfg.MaxBytes == -1},
		{"max message size", cfg.MaxMsgSize == -1},
		{"replicas", cfg.Replicas == 1},
		{"allow direct", cfg.AllowDirect},
		{"allow rollup", cfg.AllowRollup},
		{"allow atomic publish", cfg.AllowAtomicPublish},
		{"deny delete", cfg.DenyDelete},
		{"deny purge", !cfg.DenyPurge},
		{"no ack", !cfg.NoAck},
		{"sealed", !cfg.Sealed},
		{"compression", cfg.Compression == natsjs.NoCompression},
		{"format", cfg.Metadata["tributary.format"] == "1"},
	} {
		if !c.ok {
			t.Errorf("%s is not as it must be: %+v", c.setting, cfg)
		}
	}
	if got := s.BackendName(); got != "JetStream" {
		t.Errorf("name %q", got)
	}
}

func TestOpenAppliesItsConfigAtCreation(t *testing.T) {
	s := testserver.Single(t)
	nc := s.Connect(t)
	b := jetstream.Config{Stream: "Orders_1", Prefix: "acme.orders", Storage: jetstream.MemoryStorage,
		Compression: false, MaxBytes: 1 << 20}
	if _, err := jetstream.Open(t.Context(), nc, b); err != nil {
		t.Fatal(err)
	}
	cfg := configOf(t, jetStream(t, nc), "Orders_1")
	if cfg.Storage != natsjs.MemoryStorage || cfg.MaxBytes != 1<<20 || !slices.Equal(cfg.Subjects, []string{"acme.orders.>"}) {
		t.Errorf("%+v", cfg)
	}
	if _, err := jetstream.Open(t.Context(), nc, jetstream.Config{Stream: "C", Prefix: "c", Compression: true}); err != nil {
		t.Fatal(err)
	}
	if cfg := configOf(t, jetStream(t, nc), "C"); cfg.Compression != natsjs.S2Compression {
		t.Errorf("compression %v", cfg.Compression)
	}
}

func TestOpenFindsWhatIsThere(t *testing.T) {
	srv := testserver.Single(t)
	a := openStore(t, srv.Connect(t), jetstream.Config{MaxBytes: 1 << 20})
	a.add("x", 2)
	before := configOf(t, a.js, "EVENTS")
	for _, cfg := range []jetstream.Config{{}, {MaxBytes: 1 << 24}, {Compression: true}, {Replicas: 1}, {PlacementTags: []string{"x"}}} {
		wantStream(t, openStore(t, srv.Connect(t), cfg), "x", 2)
	}
	if after := configOf(t, a.js, "EVENTS"); after.MaxBytes != before.MaxBytes || after.Compression != before.Compression {
		t.Errorf("opening changed it: %+v", after)
	}
}

func TestOpeningAtOnceSucceedsForAll(t *testing.T) {
	srv := testserver.Single(t)
	var conns []*nats.Conn
	for range 8 {
		conns = append(conns, srv.Connect(t, nats.Timeout(patience)))
	}
	for round := range 5 {
		var wg sync.WaitGroup
		for i, nc := range conns {
			wg.Go(func() {
				// Some with another configuration, for which the server refuses to create it.
				cfg := jetstream.Config{Stream: fmt.Sprintf("S%d", round), Prefix: fmt.Sprintf("s%d", round), MaxBytes: int64(i%2) << 30}
				if _, err := jetstream.Open(t.Context(), nc, cfg); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestOpenRefusesAnUnsafeJetStreamStream(t *testing.T) {
	srv := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) { o.JetStreamMaxStore = 1 << 34 }))
	nc := srv.Connect(t)
	js := jetStream(t, nc)
	n := 0
	for name, tc := range map[string]struct {
		change func(c *natsjs.StreamConfig)
		raw    map[string]any // settings that nats.go doesn't know
		cfg    jetstream.Config
		want   string // the setting named
	}{
		"max age":                {change: func(c *natsjs.StreamConfig) { c.MaxAge = time.Hour }, want: "max_age"},
		"discard old, max bytes": {change: func(c *natsjs.StreamConfig) { c.Discard, c.MaxBytes = natsjs.DiscardOld, 1<<20 }, want: "discard"},
		"discard old, max msgs":  {change: func(c *natsjs.StreamConfig) { c.Discard, c.MaxMsgs = natsjs.DiscardOld, 1000 }, want: "discard"},
		"other subjects":         {change: func(c *natsjs.StreamConfig) { c.Subjects = []string{c.Name + "x.>"} }, want: "subjects"},
		"fewer subjects":         {change: func(c *natsjs.StreamConfig) { c.Subjects = []string{strings.ToLower(c.Name) + ".*"} }, want: "subjects"},
		"more subjects":          {change: func(c *natsjs.StreamConfig) { c.Subjects = append(c.Subjects, c.Name+"y") }, want: "subjects"},
		"no metadata":            {change: func(c *natsjs.StreamConfig) { c.Metadata = nil }, want: "tributary.format"},
		"another format":         {change: func(c *natsjs.StreamConfig) { c.Metadata["tributary.format"] = "2" }, want: "tributary.format"},
		"memory":                 {change: func(c *natsjs.StreamConfig) { c.Storage = natsjs.MemoryStorage }, want: "storage"},
		"a file, memory wanted":  {cfg: jetstream.Config{Storage: jetstream.MemoryStorage}, want: "storage"},
		"deny purge":             {change: func(c *natsjs.StreamConfig) { c.DenyPurge, c.AllowRollup = true, false }, want: "deny_purge"},
		"no deny delete":         {change: func(c *natsjs.StreamConfig) { c.DenyDelete = false }, want: "deny_delete"},
		"no direct gets":         {change: func(c *natsjs.StreamConfig) { c.AllowDirect = false }, want: "allow_direct"},
		"no rollups":             {change: func(c *natsjs.StreamConfig) { c.AllowRollup = false }, want: "allow_rollup_hdrs"},
		"no batches":             {change: func(c *natsjs.StreamConfig) { c.AllowAtomicPublish = false }, want: "allow_atomic"},
		"a work queue":           {change: func(c *natsjs.StreamConfig) { c.Retention = natsjs.WorkQueuePolicy }, want: "retention"},
		"interest":               {change: func(c *natsjs.StreamConfig) { c.Retention = natsjs.InterestPolicy }, want: "retention"},
		"max msgs per subject":   {change: func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 5 }, want: "max_msgs_per_subject"},
		"too few replicas":       {cfg: jetstream.Config{Replicas: 3}, want: "num_replicas"},
		"no ack":                 {change: func(c *natsjs.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false }, want: "no_ack"},
		"sealed":                 {change: func(c *natsjs.StreamConfig) { c.Sealed = true }, want: "sealed"},
		"a mirror": {change: func(c *natsjs.StreamConfig) {
			c.Subjects, c.Mirror, c.AllowAtomicPublish = nil, &natsjs.StreamSource{Name: "ORIGIN"}, false
		}, want: "mirror"},
		"sources": {change: func(c *natsjs.StreamConfig) { c.Sources = []*natsjs.StreamSource{{Name: "ORIGIN"}} }, want: "sources"},
		"a subject transform": {change: func(c *natsjs.StreamConfig) {
			c.SubjectTransform = &natsjs.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		}, want: "subject_transform"},
		"a counter":               {change: func(c *natsjs.StreamConfig) { c.AllowMsgCounter, c.Discard = true, natsjs.DiscardOld }, want: "allow_msg_counter"},
		"asynchronous persisting": {change: func(c *natsjs.StreamConfig) { c.AllowAtomicPublish = false }, raw: map[string]any{"persist_mode": "async"}, want: "persist_mode"},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			if n == 1 {
				if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "ORIGIN", Subjects: []string{"origin.>"}}); err != nil {
					t.Fatal(err)
				}
			}
			cfg := tc.cfg
			cfg.Stream, cfg.Prefix = fmt.Sprintf("U%d", n), fmt.Sprintf("u%d", n)
			if cfg.Storage == jetstream.MemoryStorage {
				openStore(t, nc, jetstream.Config{Stream: cfg.Stream, Prefix: cfg.Prefix})
			} else {
				makeUnsafe(t, nc, js, cfg, tc.change, tc.raw)
			}
			_, err := jetstream.Open(t.Context(), nc, cfg)
			unsafe, ok := errors.AsType[*jetstream.UnsafeStreamError](err)
			if !ok || !errors.Is(err, jetstream.ErrUnsafeStream) {
				t.Fatalf("error %v, want an *UnsafeStreamError", err)
			}
			if !strings.Contains(unsafe.Setting, tc.want) || unsafe.Stream != cfg.Stream {
				t.Errorf("it names %q of %s, want %q: %v", unsafe.Setting, unsafe.Stream, tc.want, err)
			}
			if errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("it is unavailable, too: %v", err)
			}
		})
	}
}

// makeUnsafe makes a JetStream stream that differs from what Open makes in what
// change does. Settings that conflict in the server with those that Open checks
// first are filled in from a safe one.
func makeUnsafe(t *testing.T, nc *nats.Conn, js natsjs.JetStream, cfg jetstream.Config, change func(*natsjs.StreamConfig), raw map[string]any) {
	t.Helper()
	openStore(t, nc, jetstream.Config{Stream: cfg.Stream, Prefix: cfg.Prefix})
	c := configOf(t, js, cfg.Stream)
	if change == nil {
		return
	}
	change(&c)
	if c.Sealed {
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := js.DeleteStream(t.Context(), cfg.Stream); err != nil {
		t.Fatal(err)
	}
	if raw != nil {
		createRaw(t, nc, c, raw)
		return
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesABadConfig(t *testing.T) {
	srv := testserver.Single(t)
	nc := srv.Connect(t)
	for field, cfgs := range map[string][]jetstream.Config{
		"Stream":           {{Stream: "a b"}, {Stream: "a.b"}, {Stream: "*"}, {Stream: ">"}, {Stream: "a/b"}, {Stream: "ä"}, {Stream: strings.Repeat("x", 200)}},
		"Prefix":           {{Prefix: "a b"}, {Prefix: "*"}, {Prefix: "a.>"}, {Prefix: ".a"}, {Prefix: "a."}, {Prefix: "a..b"}, {Prefix: "$JS"}, {Prefix: strings.Repeat("x", 200)}},
		"Domain":           {{Domain: "a.b"}, {Domain: "*"}, {Domain: "a b"}, {Domain: strings.Repeat("x", 200)}},
		"Replicas":         {{Replicas: -1}, {Replicas: 6}},
		"Storage":          {{Storage: -1}, {Storage: 2}},
		"MaxBytes":         {{MaxBytes: -1}},
		"EventsPerMessage": {{EventsPerMessage: -1}},
		"HeadCacheSize":    {{HeadCacheSize: -1}},
		"ReadConsistency":  {{ReadConsistency: -1}, {ReadConsistency: 2}},
		"Timeout":          {{Timeout: -1}},
		"RequestTimeout":   {{RequestTimeout: -1}},
	} {
		for _, cfg := range cfgs {
			b, err := jetstream.Open(t.Context(), nc, cfg)
			if b != nil || !errors.Is(err, backend.ErrInvalidArgument) || !strings.Contains(err.Error(), "Config."+field) {
				t.Errorf("%+v: %v, want ErrInvalidArgument that names Config.%s", cfg, err, field)
			}
		}
	}
	if _, err := jetStream(t, nc).Stream(t.Context(), "EVENTS"); !errors.Is(err, natsjs.ErrStreamNotFound) {
		t.Errorf("a JetStream stream was made: %v", err)
	}
}

func TestOpenWithoutAUsableConnection(t *testing.T) {
	t.Run("nil", func(t *testing.T) {
		if _, err := jetstream.Open(t.Context(), nil, jetstream.Config{}); !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("error %v, want ErrInvalidArgument", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		nc := testserver.Single(t).Connect(t)
		nc.Close()
		_, err := jetstream.Open(t.Context(), nc, jetstream.Config{})
		if !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("error %v, want ErrUnavailable and nats.ErrConnectionClosed", err)
		}
	})
	t.Run("a context that ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := jetstream.Open(ctx, testserver.Single(t).Connect(t), jetstream.Config{}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want Canceled", err)
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		nc, err := nats.Connect("nats://"+addr, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		wantUnavailable(t, nc, jetstream.Config{})
		// No deadline but that of the configuration.
		_, err = jetstream.Open(t.Context(), nc, jetstream.Config{Timeout: 100 * time.Millisecond})
		if !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
	})
	t.Run("no JetStream", func(t *testing.T) {
		srv := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) { o.JetStream = false }))
		wantUnavailable(t, srv.Connect(t), jetstream.Config{})
	})
	t.Run("another domain", func(t *testing.T) {
		wantUnavailable(t, testserver.Single(t).Connect(t), jetstream.Config{Domain: "elsewhere"})
	})
}

func wantUnavailable(t *testing.T, nc *nats.Conn, cfg jetstream.Config) {
	t.Helper()
	started := time.Now()
	_, err := jetstream.Open(within(t, 300*time.Millisecond), nc, cfg)
	if !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want ErrUnavailable and DeadlineExceeded", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAStoreOfADomain(t *testing.T) {
	srv := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) { o.JetStreamDomain = "hub" }))
	s := openStore(t, srv.Connect(t), jetstream.Config{Domain: "hub"})
	s.add("x", 1, 2)
	for i := range 100 {
		s.add("long", 1+i%2)
	}
	if err := s.Truncate(t.Context(), "long", 10, [16]byte{}); err != nil {
		t.Fatal(err)
	}
	wantStream(t, s.again(jetstream.Config{}), "x", 3)
	wantVersions(t, s.all("long"), 10, 150)
}

func TestAnOverlappingPrefixIsRefused(t *testing.T) {
	srv := testserver.Single(t)
	nc := srv.Connect(t)
	openStore(t, nc, jetstream.Config{Stream: "A", Prefix: "acme"})
	started := time.Now()
	_, err := jetstream.Open(t.Context(), nc, jetstream.Config{Stream: "B", Prefix: "acme.test"})
	if err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("error %v, want one that says that the subjects overlap", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	openStore(t, nc, jetstream.Config{Stream: "B", Prefix: "acme2"})
}

func TestAClosedBackendIsUnavailable(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 1)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range readers {
		if _, err := r.read(t.Context(), s, "x"); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", r.name, err)
		}
	}
	if _, err := s.AppendToStream(t.Context(), "x", identified(1), [16]byte{}); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("append: %v, want ErrUnavailable", err)
	}
	if s.nc.IsClosed() {
		t.Error("the connection is the caller's, and was closed")
	}
}
