package jetstream_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// mirrored makes a mirror of a part of the store, and returns once it answers
// direct gets that are meant for the store: with what it hasn't got, too.
func mirrored(t *testing.T, s *store, filter, missing string) {
	t.Helper()
	mirror, err := s.js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "COPY", Replicas: 1,
		Mirror: &natsjs.StreamSource{Name: jetstream.DefaultStream, FilterSubject: filter}})
	if err != nil {
		t.Fatal(err)
	}
	if !mirror.CachedInfo().Config.MirrorDirect {
		t.Fatal("the server did not set mirror_direct")
	}
	eventually(t, "the mirror answers for the store", func() bool {
		answer, err := s.nc.Request(requestLast+missing, nil, patience)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Header.Get("Status") == "404"
	})
}

// The server has a mirror of one replica answer direct gets for its origin, and
// a filtered one says "not found" of all that its filter leaves out.
func TestAMirrorThatAnswersForTheStoreHidesNothing(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 2, 3)
	s.add("y", 5)
	mirrored(t, s, "events.y", "x")
	t.Run("of an existing event stream", func(t *testing.T) {
		for range 20 { // by chance the mirror answers, or not
			wantStream(t, s.again(jetstream.Config{}), "x", 5)
			wantStream(t, s.again(jetstream.Config{HeadCacheSize: 1}), "x", 5)
		}
	})
	for name, cfg := range map[string]jetstream.Config{"heads remembered": {}, "heads forgotten": {HeadCacheSize: 1}} {
		t.Run("of what this process appended, "+name, func(t *testing.T) {
			b := s.again(cfg)
			for version := range uint64(15) {
				for _, id := range []string{"a", "b"} { // so that one forgets the other's head
					b.append(fmt.Sprint(id, cfg.HeadCacheSize), backend.ExactVersion(version), identified(1))
				}
				for _, id := range []string{"a", "b"} {
					wantStream(t, b, fmt.Sprint(id, cfg.HeadCacheSize), version+1)
				}
			}
		})
	}
	t.Run("of what it has itself", func(t *testing.T) {
		for version := uint64(6); version < 16; version++ {
			s.add("y", 1)
			wantStream(t, s, "y", version)
		}
	})
	t.Run("of an event stream made again", func(t *testing.T) {
		b := s.again(jetstream.Config{})
		for range 5 {
			if err := b.DeleteStream(t.Context(), backend.Stream{UUID: "y"}, uuid.Nil); err != nil {
				t.Fatal(err)
			}
			b.append("y", backend.NoStream(), identified(2))
			wantStream(t, b, "y", 2)
		}
	})
}
