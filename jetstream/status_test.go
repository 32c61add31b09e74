package jetstream_test

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// hasty is how the tests of this file configure a backend, and promptly the time
// that a call has: whoever waits for an answer that doesn't come waits too long.
var hasty = jetstream.Config{RequestTimeout: time.Hour}

const promptly = 10 * time.Second

// eachStatus runs a test for a foreign message of every kind that a client
// might take for an answer of the server's, which is none.
func eachStatus(t *testing.T, test func(t *testing.T, header map[string][]string, body []byte)) {
	for _, status := range []string{"404", "503", "100", "408", "409", "nonsense"} {
		header := map[string][]string{"Status": {status}, "Description": {"Message Size Exceeds MaxBytes"}}
		t.Run(status+" with a body", func(t *testing.T) { test(t, header, []byte("foreign")) })
		t.Run(status+" without a body", func(t *testing.T) { test(t, header, nil) })
	}
}

func TestAForeignMessageWithAStatusIsNamedByPosition(t *testing.T) {
	eachStatus(t, func(t *testing.T, header map[string][]string, body []byte) {
		s := newStore(t, hasty)
		s.add("x", 1, 2)
		s.add("y", 2)
		position := s.publish("events.x", header, body)
		for state, b := range map[string]*store{"a known head": s, "no head": s.again(hasty)} {
			_, err := b.ReadStreamInfo(within(t, promptly), "x", uuid.Nil)
			wantCorrupted(t, err, position)
			for _, r := range readers {
				t.Run(state+", "+r.name, func(t *testing.T) {
					_, err := r.read(within(t, promptly), b, "x")
					wantCorrupted(t, err, position)
				})
			}
			_, err = backend.Append(within(t, promptly), b, "x", backend.AnyVersion(), identified(1), uuid.Nil)
			wantCorrupted(t, err, position)
			b.add("y", 1)
			wantVersions(t, b.all("y"), 1, b.info("y").Version)
		}
		if err := s.DeleteStream(within(t, promptly), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		s.add("x", 2)
		wantStream(t, s, "x", 2)
	})
}

func TestReadAllStopsAtAForeignMessageWithAStatus(t *testing.T) {
	eachStatus(t, func(t *testing.T, header map[string][]string, body []byte) {
		s := newStore(t, hasty)
		s.add("x", 1, 2)
		s.add("other.y", 2)
		position := s.publish("events.x", header, body)
		s.add("other.y", 1)
		all, err := readAll(within(t, promptly), s, backend.ReadAllOptions{})
		wantCorrupted(t, err, position)
		if len(all) != 5 {
			t.Errorf("%d events before it, want 5", len(all))
		}
		rest, err := readAll(within(t, promptly), s, backend.ReadAllOptions{After: position})
		if err != nil || len(rest) != 1 {
			t.Errorf("%d events behind it, want 1, error %v", len(rest), err)
		}
		under, err := readAll(within(t, promptly), s, backend.ReadAllOptions{Under: "other"})
		if err != nil || len(under) != 3 {
			t.Errorf("%d events of the other event stream, want 3, error %v", len(under), err)
		}
	})
}

func TestAForeignMessageWithAStatusInTheMiddleIsNotPassedOver(t *testing.T) {
	eachStatus(t, func(t *testing.T, header map[string][]string, body []byte) {
		s := newStore(t, hasty)
		s.add("x", 2)
		position := s.publish("events.x", header, body)
		s.put("x", encode(t, 2, s.stateAt(position-1), nil, 0)...)
		for _, r := range readers {
			t.Run(r.name, func(t *testing.T) {
				_, err := r.read(within(t, promptly), s, "x")
				wantCorrupted(t, err, position)
			})
		}
	})
}

// A message of ours stays one whatever else its headers say.
func TestAMessageOfOursMayHaveAStatus(t *testing.T) {
	for _, status := range []string{"404", "503", "100", "408"} {
		t.Run(status, func(t *testing.T) {
			s := newStore(t, hasty)
			m := encode(t, 2, begun(), nil, 0)[0]
			header := maps.Clone(m.Header)
			header["Status"] = []string{status}
			s.publish("events.x", header, m.Body)
			wantStream(t, s, "x", 2)
			s.add("x", 1)
			wantStream(t, s.again(hasty), "x", 3)
		})
	}
}

// The size of what is asked for may come from a caller or from a message.
func TestAHugeVersionNeedsNoMemory(t *testing.T) {
	for _, version := range []uint64{1 << 32, 1 << 61, math.MaxUint64 - 2} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			s.add("x", 1)
			state := s.state("x")
			state.Version = version
			s.put("x", encode(t, 1, state, nil, 0)...)
			for _, r := range readers {
				if events, err := r.read(t.Context(), s, "x"); len(events) > 1 {
					t.Errorf("%s: %d events, error %v", r.name, len(events), err)
				} else {
					wantCorrupted(t, err, 1)
				}
			}
			for _, size := range []int{1, 1000, math.MaxInt} {
				var last error
				for _, err := range s.StreamForward(t.Context(), "x", size, uuid.Nil) {
					last = err
				}
				wantCorrupted(t, last, 1)
			}
			all, err := readAll(t.Context(), s, backend.ReadAllOptions{BatchSize: math.MaxInt})
			wantCorrupted(t, err, 1)
			wantVersions(t, all, 1, 1)
			if all, err = readAll(t.Context(), s, backend.ReadAllOptions{After: 1}); err != nil {
				t.Errorf("ReadAll behind it: %d events, error %v", len(all), err)
			}
		})
	}
}
