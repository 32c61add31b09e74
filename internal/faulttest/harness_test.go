package faulttest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// The harness is of use only if it finds what it looks for. Here the store itself
// is broken, by what is between it and its clients.

const fence = "Nats-Expected-Last-Subject-Sequence"

// broken runs a load of which a rule decides about the messages on its event
// streams.
func broken(t *testing.T, rule func(p *Published) Fate, until func() bool) Result {
	t.Helper()
	c := Start(t, 1)
	load := c.newLoad(t, LoadConfig{})
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
	for _, v := range res.Violations[:min(3, len(res.Violations))] {
		t.Log(v)
	}
	return res
}

func TestTheHarnessFindsThatFencesAreIgnored(t *testing.T) {
	var n atomic.Int64
	res := broken(t, func(p *Published) Fate {
		n.Add(1)
		return Fate{Instead: p.WithoutHeader(fence)}
	}, func() bool { return n.Load() > 300 })
	if len(res.Violations) == 0 {
		t.Error("it found nothing")
	}
}

func TestTheHarnessFindsAcknowledgementsBeforeStorage(t *testing.T) {
	var n, lost atomic.Int64
	res := broken(t, func(p *Published) Fate {
		if n.Add(1)%100 != 0 {
			return Fate{}
		}
		return Fate{Swallow: true, Answer: fmt.Appendf(nil, `{"stream":"EVENTS","seq":%d}`, 1_000_000+lost.Add(1))}
	}, func() bool { return lost.Load() >= 2 })
	if res.Lost == 0 {
		t.Error("it found nothing lost")
	}
}

func TestTheHarnessFindsAppendsThatAreStoredTwice(t *testing.T) {
	var n, doubled atomic.Int64
	res := broken(t, func(p *Published) Fate {
		if n.Add(1)%20 != 0 {
			return Fate{}
		}
		doubled.Add(1)
		return Fate{Instead: append(p.WithoutHeader(fence), p.WithoutHeader(fence)...)}
	}, func() bool { return doubled.Load() >= 5 })
	if len(res.Violations) == 0 {
		t.Error("it found nothing")
	}
}
