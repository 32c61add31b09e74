package servers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestMain(m *testing.M) {
	ServeIfAsked()
	os.Exit(m.Run())
}

func TestServersOfEveryKindStoreAndLeaveNothingBehind(t *testing.T) {
	for _, kind := range []Kind{Single, Cluster, Apart, Synced} {
		t.Run(string(kind), func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			s, err := Start(t.Context(), kind, "")
			if err != nil {
				t.Fatal(err)
			}
			useServer(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if nc, err := s.Connect(); err == nil {
				nc.Close()
				t.Error("it still answers")
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func useServer(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: s.Replicas}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", nil); err != nil {
		t.Fatal(err)
	}
	if s.Version == "" {
		t.Error("its version is not known")
	}
}

func TestARemoteServerMustBeThere(t *testing.T) {
	_, err := Start(t.Context(), Remote, "nats://127.0.0.1:1")
	if !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("%v", err)
	}
}

func TestAServerIsNotStartedWhenItIsTooLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("TMPDIR", t.TempDir())
	s, err := Start(ctx, Apart, "")
	if err == nil {
		// It was quicker than the end of ctx took effect.
		err = s.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
