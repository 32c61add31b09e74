package jetstream_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

func TestOpenRefusesAConfigBeyondTheLimits(t *testing.T) {
	nc := testserver.Single(t).Connect(t)
	for field, cfgs := range map[string][]jetstream.Config{
		"HeadCacheSize":  {{HeadCacheSize: 1<<24 + 1}, {HeadCacheSize: math.MaxInt}},
		"Timeout":        {{Timeout: time.Hour + 1}, {Timeout: math.MaxInt64}},
		"RequestTimeout": {{RequestTimeout: time.Hour + 1}, {RequestTimeout: math.MaxInt64}},
	} {
		for _, cfg := range cfgs {
			b, err := jetstream.Open(t.Context(), nc, cfg)
			if b != nil || !errors.Is(err, backend.ErrInvalidArgument) || !strings.Contains(err.Error(), "Config."+field) {
				t.Errorf("%+v: %v, want ErrInvalidArgument that names Config.%s", cfg, err, field)
			}
		}
	}
}

// Multiples of these are counted with, so that the largest must not overflow.
func TestAConfigAtTheLimitsWorks(t *testing.T) {
	s, p := counted(t, jetstream.Config{HeadCacheSize: 1 << 24, Timeout: time.Hour, RequestTimeout: time.Hour})
	for range 30 {
		s.add("x", 20)
	}
	s.add("y", 1)
	got := requests(t, s, p, func() { s.append("x", backend.ExactVersion(600), identified(1)) })
	wantRequests(t, got, "events.x")
	wantStream(t, s, "x", 601)
}

func TestAnAppendThatIsTooLargeSendsNothing(t *testing.T) {
	expectations := []backend.ExpectedVersion{backend.NoStream(), backend.AnyVersion(), backend.StreamExists(), backend.ExactVersion(0), backend.ExactVersion(7)}
	for name, tc := range map[string]struct {
		cfg    jetstream.Config
		events []backend.UnsavedEvent
		want   error
	}{
		"more messages than a batch takes": {jetstream.Config{EventsPerMessage: 1}, identified(1001), backend.ErrAppendTooLarge},
		"data that no message takes":       {jetstream.Config{}, append(identified(1), sized(1, 65_400)...), backend.ErrEventTooLarge},
		"metadata that no header takes": {jetstream.Config{}, []backend.UnsavedEvent{{EventType: "Tested",
			Metadata: []byte(`{"a":"` + strings.Repeat("x", 65_400) + `"}`)}}, backend.ErrEventTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, testserver.Single(t, testserver.MaxPayload(64<<10)))
			s := openStore(t, p.connect(), tc.cfg)
			s.add("known", 2)
			s.again(tc.cfg).add("unknown", 2)
			for _, stream := range []string{"known", "unknown", "new"} {
				for _, expected := range expectations {
					got := requests(t, s, p, func() {
						_, err := backend.Append(t.Context(), s, stream, expected, tc.events, uuid.Nil)
						if !errors.Is(err, tc.want) {
							t.Errorf("%s, %v: error %v, want %v", stream, expected, err, tc.want)
						}
					})
					wantRequests(t, got)
				}
				got := requests(t, s, p, func() {
					if _, err := s.AppendToStream(t.Context(), stream, tc.events, uuid.Nil); !errors.Is(err, tc.want) {
						t.Errorf("AppendToStream to %s: error %v, want %v", stream, err, tc.want)
					}
				})
				wantRequests(t, got)
			}
		})
	}
}

func TestAnAppendBeyondTheLastVersionIsRefused(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	state := begun()
	state.Version = math.MaxUint64 - 4
	position := s.put("x", encode(t, 1, state, nil, 0)...)[0]
	for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists(), backend.ExactVersion(math.MaxUint64 - 3)} {
		for _, n := range []int{3, 4, 5, 1000} {
			_, err := backend.Append(t.Context(), s, "x", expected, identified(n), uuid.Nil)
			wantCorrupted(t, err, position)
		}
	}
	if got := s.lastSeq(); got != position {
		t.Fatalf("something was written at %d", got)
	}
	// The last that there can be.
	if res := s.append("x", backend.AnyVersion(), identified(2)); res.Version != math.MaxUint64-1 {
		t.Errorf("version %d, want %d", res.Version, uint64(math.MaxUint64-1))
	}
	events, err := backend.ReadStreamBackward(t.Context(), s, "x", 0, 2, uuid.Nil)
	if err != nil || len(events) != 2 || events[0].StreamVersion != math.MaxUint64-1 {
		t.Errorf("%d events, error %v", len(events), err)
	}
	for _, b := range []*store{s, s.again(jetstream.Config{})} {
		_, err := backend.Append(t.Context(), b, "x", backend.AnyVersion(), identified(1), uuid.Nil)
		wantCorrupted(t, err, position+1)
	}
}

// Nothing that an iteration does when it ends may wait for a server that can't be
// reached.
func TestCancellingAnIterationWithoutAServerEndsItAtOnce(t *testing.T) {
	for name, disconnect := range map[string]func(t *testing.T, s *store, p *proxy){
		"the connection is broken": func(t *testing.T, s *store, p *proxy) {
			p.refuse(true)
			eventually(t, "the client notices", func() bool { return !s.nc.IsConnected() })
		},
		"nobody notices": func(_ *testing.T, _ *store, p *proxy) { p.set(lost) },
	} {
		t.Run(name, func(t *testing.T) {
			for way, batches := range map[string]func(context.Context, *store) func(func([]backend.RecordedEvent, error) bool){
				"ReadAll": func(ctx context.Context, s *store) func(func([]backend.RecordedEvent, error) bool) {
					return s.ReadAll(ctx, backend.ReadAllOptions{BatchSize: 100}, uuid.Nil)
				},
				"StreamForward": func(ctx context.Context, s *store) func(func([]backend.RecordedEvent, error) bool) {
					return s.StreamForward(ctx, "x", 100, uuid.Nil)
				},
			} {
				t.Run(way, func(t *testing.T) {
					// Longer than the test waits.
					s, p := counted(t, jetstream.Config{RequestTimeout: time.Hour, Timeout: time.Hour})
					for range 200 {
						s.add("x", 1)
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					var last error
					var started time.Time
					for _, err := range batches(ctx, s) {
						if last = err; started.IsZero() {
							disconnect(t, s, p)
							started = time.Now()
							cancel()
						}
					}
					if took := time.Since(started); took > 5*time.Second {
						t.Errorf("it took %v", took)
					}
					if !errors.Is(last, context.Canceled) {
						t.Errorf("error %v, want Canceled", last)
					}
				})
			}
		})
	}
}
