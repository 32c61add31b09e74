package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// Every benchmark here does the same work twice in each of its rounds, once
// through this library and once with nats.go alone, so that what the machine
// does meanwhile meets both. ns/op is of both together; the metrics are medians:
// of each, and x-raw, the ratio of the two.

func BenchmarkAppend(b *testing.B) {
	for _, events := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			f := newBenchFixture(b)
			batch := benchEvents(events)
			version := uint64(0)
			message := f.appended("ours", batch)
			var fence uint64
			f.paired(b, func() error {
				res, err := backend.Append(f.ctx, f.backend, "ours", backend.ExactVersion(version), batch, uuid.Nil)
				version = res.Version
				return err
			}, func() error {
				message.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(fence, 10)}
				ack, err := f.js.PublishMsg(f.ctx, message)
				if err == nil {
					fence = ack.Sequence
				}
				return err
			})
		})
	}
}

// BenchmarkHotStream has a round of 64 appends to one event stream by as many
// goroutines, next to 64 appends by one; x-raw is the ratio of those two.
func BenchmarkHotStream(b *testing.B) {
	const writers = 64
	f := newBenchFixture(b)
	event := benchEvents(1)
	f.paired(b, func() error {
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for i := range writers {
			wg.Go(func() { _, errs[i] = backend.Append(f.ctx, f.backend, "hot", backend.AnyVersion(), event, uuid.Nil) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}, func() error {
		for range writers {
			if _, err := backend.Append(f.ctx, f.backend, "cool", backend.AnyVersion(), event, uuid.Nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func BenchmarkRead(b *testing.B) {
	for _, commits := range []int{1, 10, 16} {
		b.Run(fmt.Sprintf("commits=%d", commits), func(b *testing.B) {
			f := newBenchFixture(b)
			// Scattered among the commits of other event streams.
			var positions []uint64
			for range commits {
				positions = append(positions, f.mustAppend("wanted", benchEvents(1)).Position)
				for i := range 20 {
					f.mustAppend("other-"+strconv.Itoa(i), benchEvents(1))
				}
			}
			reader := f.open() // which has seen none of them
			f.paired(b, func() error {
				events, err := reader.ReadStream(f.ctx, "wanted", 1, uint64(commits), uuid.Nil)
				if err == nil && len(events) != commits {
					err = fmt.Errorf("%d events", len(events))
				}
				return err
			}, func() error { return f.rawGets("events.wanted", positions) })
		})
	}
}

// BenchmarkReadDeep reads pages deep inside of a long event stream, next to pages
// at its end.
func BenchmarkReadDeep(b *testing.B) {
	const commits, page = 100_000, 20
	f := newBenchFixture(b)
	f.fill("long", commits)
	random := rand.New(rand.NewPCG(1, 2))
	version := func() uint64 { return 1 + random.Uint64N(commits-page) }
	read := func(from uint64) error { return wantPage(f.backend.ReadStream(f.ctx, "long", from, page, uuid.Nil)) }
	backward := func(from uint64) error {
		return wantPage(f.backend.ReadStreamBackward(f.ctx, "long", from, page, uuid.Nil))
	}
	b.Run("forward", func(b *testing.B) {
		f.paired(b, func() error { return read(version()) }, func() error { return read(commits - page + 1) })
	})
	b.Run("backward", func(b *testing.B) {
		f.paired(b, func() error { return backward(version() + page) }, func() error { return backward(0) })
	})
}

func wantPage(events []backend.RecordedEvent, err error) error {
	if err == nil && len(events) != 20 {
		err = fmt.Errorf("%d events", len(events))
	}
	return err
}

// BenchmarkStreamForward reads as many events as nats.go does as messages of one
// event each.
func BenchmarkStreamForward(b *testing.B) {
	for _, events := range []int{1, 10} {
		b.Run(fmt.Sprintf("events-per-commit=%d", events), func(b *testing.B) {
			const all = 20_000
			f := newBenchFixture(b)
			f.fill("single", all)
			name := "single"
			if events > 1 {
				name = "several"
				for range all / events {
					f.mustAppend(name, benchEvents(events))
				}
			}
			stream, err := f.js.Stream(f.ctx, jetstream.DefaultStream)
			if err != nil {
				b.Fatal(err)
			}
			f.paired(b, func() error {
				n := 0
				for batch, err := range f.backend.StreamForward(f.ctx, name, 500, uuid.Nil) {
					if err != nil {
						return err
					}
					n += len(batch)
				}
				if n != all {
					return fmt.Errorf("%d events", n)
				}
				return nil
			}, func() error { return rawConsume(f.ctx, stream, "events.single", all) })
		})
	}
}

type benchFixture struct {
	ctx     context.Context
	tb      testing.TB
	nc      *nats.Conn
	js      natsjs.JetStream
	backend *jetstream.Backend
}

func newBenchFixture(b *testing.B) *benchFixture {
	nc := testserver.Single(b).Connect(b)
	js, err := natsjs.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	f := &benchFixture{ctx: b.Context(), tb: b, nc: nc, js: js}
	f.backend = f.open()
	return f
}

func (f *benchFixture) open() *jetstream.Backend {
	b, err := jetstream.Open(f.ctx, f.nc, jetstream.Config{})
	if err != nil {
		f.tb.Fatal(err)
	}
	return b
}

func benchEvents(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventType: "MoneyDeposited", Data: bytes.Repeat([]byte{'x'}, 200)}
	}
	return events
}

func (f *benchFixture) mustAppend(name string, events []backend.UnsavedEvent) backend.AppendResult {
	res, err := backend.Append(f.ctx, f.backend, name, backend.AnyVersion(), events, uuid.Nil)
	if err != nil {
		f.tb.Fatal(err)
	}
	return res
}

// fill writes an event stream of commits of one event each, as appends would, but
// all at once. Nothing else must have been written.
func (f *benchFixture) fill(name string, commits int) {
	f.tb.Helper()
	state := begun()
	var chain []wire.Link
	for i := range commits {
		events, _, err := backend.Prepare("", benchEvents(1), uuid.Nil)
		if err != nil {
			f.tb.Fatal(err)
		}
		m, err := wire.EncodeEvents(events, state, i == 0, chain, wire.Limits{MaxMessageBytes: 1 << 20, MaxMessages: 1})
		if err != nil {
			f.tb.Fatal(err)
		}
		msg := &nats.Msg{Subject: "events." + name, Header: m[0].Header, Data: m[0].Body}
		if _, err := f.js.PublishMsgAsync(msg, natsjs.WithStallWait(patience)); err != nil {
			f.tb.Fatal(err)
		}
		state.Version++
		chain = append([]wire.Link{{Position: uint64(i + 1), Events: 1, Parts: 1}}, chain[:min(len(chain), wire.MaxChain-1)]...)
	}
	select {
	case <-f.js.PublishAsyncComplete():
	case <-time.After(patience):
		f.tb.Fatal("not all was written in time")
	}
}

// appended returns the message that an append makes, with a full chain, for
// another subject.
func (f *benchFixture) appended(name string, events []backend.UnsavedEvent) *nats.Msg {
	for range 16 {
		f.mustAppend("template-"+name, events)
	}
	stream, err := f.js.Stream(f.ctx, jetstream.DefaultStream)
	if err != nil {
		f.tb.Fatal(err)
	}
	raw, err := stream.GetLastMsgForSubject(f.ctx, "events.template-"+name)
	if err != nil {
		f.tb.Fatal(err)
	}
	msg := &nats.Msg{Subject: "events.raw", Header: nats.Header{}, Data: raw.Data}
	for name, values := range raw.Header {
		if name[:5] == "Trib-" {
			msg.Header[name] = values
		}
	}
	return msg
}

// paired runs ours and raw in turn, and reports the medians.
func (f *benchFixture) paired(b *testing.B, ours, raw func() error) {
	var took [2][]float64
	for b.Loop() {
		for i, work := range []func() error{ours, raw} {
			start := time.Now()
			if err := work(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], float64(time.Since(start).Nanoseconds()))
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	median, rawMedian := took[0][len(took[0])/2], took[1][len(took[1])/2]
	b.ReportMetric(median/1e3, "us-ours")
	b.ReportMetric(rawMedian/1e3, "us-raw")
	b.ReportMetric(median/rawMedian, "x-raw")
}

// rawGets gets the last message of a subject, then those at positions, all asked
// for at once.
func (f *benchFixture) rawGets(subject string, positions []uint64) error {
	const api = "$JS.API.DIRECT.GET." + jetstream.DefaultStream
	if _, err := f.nc.RequestWithContext(f.ctx, api+"."+subject, nil); err != nil {
		return err
	}
	inbox := f.nc.NewInbox()
	messages := make(chan *nats.Msg, len(positions)) // SubscribeSync's has room for 65,536, and takes longer
	sub, err := f.nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for _, position := range positions {
		if err := f.nc.PublishRequest(api, inbox, fmt.Appendf(nil, `{"seq":%d}`, position)); err != nil {
			return err
		}
	}
	for range positions {
		select {
		case <-messages:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	return nil
}

// rawConsume reads the messages of a subject through nats.go's ordered consumer,
// with as many underway as makes it fastest.
func rawConsume(ctx context.Context, stream natsjs.Stream, subject string, messages int) error {
	consumer, err := stream.OrderedConsumer(ctx, natsjs.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return err
	}
	it, err := consumer.Messages(natsjs.PullMaxMessages(1024))
	if err != nil {
		return err
	}
	defer it.Stop()
	for range messages {
		if _, err := it.Next(); err != nil {
			return err
		}
	}
	return stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
}
