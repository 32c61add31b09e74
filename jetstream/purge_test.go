package jetstream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

func TestTruncatedEventsAreErased(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("other", 1)
	s.add("x", 1, 1, 1, 3, 1, 1)
	for _, step := range []struct {
		before   uint64
		messages uint64 // of x, markers included
	}{
		{1, 6},
		{3, 5},  // without the commits of 1 and 2; a marker
		{3, 5},  // again
		{5, 5},  // without 3; within the commit of 4 to 6, which is kept; a marker
		{7, 5},  // 7 and 8, and three markers, which stand behind them
		{9, 1},  // past the end: a marker
		{12, 1}, // nothing left to do
	} {
		if err := s.Truncate(t.Context(), "x", step.before, uuid.Nil); err != nil {
			t.Fatalf("before %d: %v", step.before, err)
		}
		if got := s.stored("events.x").Subjects["events.x"]; got != step.messages {
			t.Errorf("before %d: %d messages are left, want %d", step.before, got, step.messages)
		}
		wantVersions(t, s.all("x"), min(step.before, 9), 8)
		if got := s.info("x").Version; got != 8 {
			t.Errorf("before %d: version %d, want 8", step.before, got)
		}
	}
	if res := s.add("x", 1); res.Version != 9 {
		t.Errorf("the next version is %d, want 9", res.Version)
	}
	wantStream(t, s, "other", 1)
}

func TestTruncatingWithinACommitOfSeveralMessagesKeepsItWhole(t *testing.T) {
	s := newStore(t, jetstream.Config{EventsPerMessage: 1})
	s.add("x", 2, 5, 2)
	for _, before := range []uint64{3, 4, 7} {
		if err := s.Truncate(t.Context(), "x", before, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		for _, b := range []*store{s, s.again(jetstream.Config{})} {
			for _, r := range readers {
				events, err := r.read(t.Context(), b, "x")
				if err != nil {
					t.Fatalf("%s: %v", r.name, err)
				}
				wantVersions(t, events, before, 9)
			}
		}
		events, err := readAll(t.Context(), s, backend.ReadAllOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wantVersions(t, events, 3, 9)
	}
}

func TestADeletedEventStreamLeavesOneMessage(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	batches := s.again(jetstream.Config{EventsPerMessage: 1})
	for range 3 {
		s.add("x", 1, 2, 3)
		batches.add("x", 4)
		if err := s.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		if got := s.stored("events.x").Subjects["events.x"]; got != 1 {
			t.Errorf("%d messages are left, want 1", got)
		}
	}
	if got := s.stored("").Msgs; got != 1 {
		t.Errorf("%d messages are left in all, want 1", got)
	}
}

func TestATruncationThatMayNotPurgeIsCompletedLater(t *testing.T) {
	srv := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "service", Password: "service", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.PURGE.>", "$JS.API.STREAM.DELETE.>", "$JS.API.STREAM.UPDATE.>"}},
			}},
		}
	}))
	connect := func(user string) *nats.Conn { return srv.Connect(t, nats.UserInfo(user, user)) }
	admin := openStore(t, connect("admin"), jetstream.Config{})
	service := openStore(t, connect("service"), jetstream.Config{RequestTimeout: 100 * time.Millisecond, Timeout: 500 * time.Millisecond})
	service.add("x", 1, 1, 1, 1)

	err := service.Truncate(t.Context(), "x", 3, uuid.Nil)
	if err == nil {
		t.Fatal("it succeeded, without the permission")
	}
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "$JS.API.STREAM.PURGE.EVENTS") {
		t.Errorf("error %v, want one that names the permission", err)
	}
	for name, b := range map[string]*store{"service": service, "admin": admin} {
		for _, r := range readers {
			events, err := r.read(t.Context(), b, "x")
			if err != nil {
				t.Fatalf("%s, %s: %v", name, r.name, err)
			}
			wantVersions(t, events, 3, 4)
		}
	}
	if got := admin.stored("events.x").Subjects["events.x"]; got != 5 {
		t.Errorf("%d messages, want all 4 and the marker", got)
	}
	// What the service may do goes on.
	service.append("x", backend.ExactVersion(4), identified(1))

	if err := admin.Truncate(t.Context(), "x", 3, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	if got := admin.stored("events.x").Subjects["events.x"]; got != 4 {
		t.Errorf("%d messages are left, want 3 and the marker", got)
	}
	wantVersions(t, service.all("x"), 3, 5)
	// Truncating to the end and deleting need no such permission.
	if err := service.Truncate(t.Context(), "x", 100, uuid.Nil); err != nil {
		t.Errorf("to the end: %v", err)
	}
	if err := service.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
		t.Errorf("deleting: %v", err)
	}
}

// An error of the server's at the purge is one that backend.Truncate names.
func TestATruncationThatTheServerDoesNotPurgeIsUnavailable(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 1, 1, 1, 1)
	js := jetStream(t, s.nc)
	stream, err := js.Stream(t.Context(), jetstream.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.DenyPurge, config.AllowRollup = true, false // by an administrator, after it was opened
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := s.Truncate(t.Context(), "x", 3, uuid.Nil); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	wantVersions(t, s.all("x"), 3, 4)
}
