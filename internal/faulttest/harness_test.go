package faulttest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// The harness is of use only if it finds what it looks for. Here the store itself
// is broken, by what is between it and its clients.

const fence = "Nats-Expected-Last-Subject-Sequence"

// broken runs a load of which a rule decides about the messages on its event
// streams. It must find a violation that has one of the texts in it.
func broken(t *testing.T, rule func(p *Published) Fate, until func() bool, texts ...string) Result {
	t.Helper()
	c := Start(t, 1)
	load := c.newLoad(t, LoadConfig{Seed: chosen(t)})
	for _, client := range load.Clients {
		client.EachLink(func(l *Link) {
			l.On(func(p *Published) Fate {
				if !strings.HasPrefix(p.Subject, "events."+load.name) || p.Reply == "" {
					return Fate{}
				}
				return rule(p)
			})
		})
	}
	load.work()
	must(t, eventually("it is broken", func() error {
		if !until() {
			return fmt.Errorf("not yet")
		}
		return nil
	}))
	c.Heal()
	res := load.finish()
	t.Log(res)
	mustFind(t, res, texts...)
	return res
}

// mustFind fails the test where no violation has one of the texts in it.
func mustFind(t *testing.T, res Result, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, v := range res.Violations {
			if strings.Contains(v, text) {
				t.Log(v)
				return
			}
		}
	}
	t.Errorf("none of %d violations tells of any of %q: %q", len(res.Violations), texts, res.Violations)
}

func TestTheHarnessFindsThatFencesAreIgnored(t *testing.T) {
	var n atomic.Int64
	broken(t, func(p *Published) Fate {
		n.Add(1)
		return Fate{Instead: p.WithoutHeader(fence)}
	}, func() bool { return n.Load() > 300 }, "and is now")
}

func TestTheHarnessFindsAcknowledgementsBeforeStorage(t *testing.T) {
	var n, lost atomic.Int64
	res := broken(t, func(p *Published) Fate {
		// Others insist, for as long as the harness is patient.
		if !strings.Contains(p.Subject, ".counter-") || n.Add(1)%20 != 0 {
			return Fate{}
		}
		return Fate{Swallow: true, Answer: fmt.Appendf(nil, `{"stream":"EVENTS","seq":%d}`, 1_000_000+lost.Add(1))}
	}, func() bool { return lost.Load() >= 2 }, "lost:")
	if res.Lost == 0 {
		t.Error("it counts none as lost")
	}
}

// What is stored twice is whole and in order each time, so that only the ids tell:
// here another client appends once more what a process was acknowledged.
func TestTheHarnessFindsAppendsThatAreStoredTwice(t *testing.T) {
	c := Start(t, 1)
	load := c.newLoad(t, LoadConfig{Seed: chosen(t)})
	load.work()
	load.Wait(100)
	b := c.open(t, c.NewClient(t).Conn, jetstream.Config{})
	counter := load.counter(0)
	for doubled := 0; doubled < 3; {
		info, err := b.ReadStreamInfo(t.Context(), counter, uuid.Nil)
		must(t, err)
		last, err := b.ReadStream(t.Context(), counter, info.Version, 1, uuid.Nil)
		must(t, err)
		again := []backend.UnsavedEvent{eventOf(last[0].EventUUID)}
		if _, err := backend.Append(t.Context(), b, counter, backend.ExactVersion(info.Version), again, uuid.Nil); err == nil {
			doubled++
		} else if !errors.Is(err, backend.ErrWrongExpectedVersion) { // a process was faster
			t.Fatal(err)
		}
	}
	res := load.finish()
	t.Log(res)
	mustFind(t, res, "is "+counter+" version")
	if res.Doubled < 3 {
		t.Errorf("it counts %d as doubled, want 3 or more", res.Doubled)
	}
}

func TestTheHarnessFindsEventsThatAreAltered(t *testing.T) {
	var n atomic.Int64
	broken(t, func(p *Published) Fate {
		n.Add(1)
		// What is stored is whole, but has another type.
		return Fate{Instead: bytes.ReplaceAll(p.Raw, []byte("Happened"), []byte("Occurred"))}
	}, func() bool { return n.Load() > 100 }, "altered")
}
