package wire

import (
	"fmt"
	"math"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
)

// benchEvents are n ordinary events of one request.
func benchEvents(n int) []backend.UnsavedEvent {
	events := plainEvents(n)
	for i := range events {
		events[i].CorrelationID, events[i].CausationID = nthID(200), nthID(201)
		events[i].Metadata = []byte(`{"user":"ann"}`)
		if i%2 == 1 {
			events[i].EventType = "Withdrawn"
		}
	}
	return events
}

var benchChain = func() []Link {
	chain := make([]Link, MaxChain)
	for i := range chain {
		chain[i] = Link{Position: uint64(1_000_000 - 17*i), Events: 1, Parts: 1}
	}
	return chain
}()

func BenchmarkEncodeEvents(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			events := benchEvents(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := EncodeEvents(events, begun(100), false, benchChain, testLimits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 10} {
		m := encodeOne(b, benchEvents(n), begun(100), benchChain)
		b.Run(fmt.Sprint("state/", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(m.Header, m.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("events/", n), func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]backend.RecordedEvent, 0, n)
			for b.Loop() {
				rec, err := Decode(m.Header, m.Body)
				if err == nil {
					dst, err = rec.AppendEvents(dst[:0], testCommon, 0, math.MaxUint64)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		// For comparison: what nats.go takes to decode the headers.
		b.Run(fmt.Sprint("nats/", n), func(b *testing.B) {
			raw := natsHeader(m.Header)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := nats.DecodeHeadersMsg(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
