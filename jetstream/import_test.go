package jetstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// history is appends to import: rounds of one to each of n new event streams, of
// one to three events, each at the exact version. Made again with the same name
// it is the same, down to the ids.
func history(name string, n, rounds int) []backend.StreamAppend {
	appends := make([]backend.StreamAppend, 0, n*rounds)
	versions := make([]uint64, n)
	for round := range rounds {
		for i := range n {
			events := unnamed(1 + (round+i)%3)
			for j := range events {
				events[j].EventUUID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, name, " ", i, " ", round, " ", j))
			}
			appends = append(appends, backend.StreamAppend{
				StreamUUID: fmt.Sprintf("%s-%d", name, i), Expected: backend.ExactVersion(versions[i]), Events: events,
			})
			versions[i] += uint64(len(events))
		}
	}
	return appends
}

// anyVersion is the same appends, whatever the event streams' versions.
func anyVersion(appends []backend.StreamAppend) []backend.StreamAppend {
	appends = slices.Clone(appends)
	for i := range appends {
		appends[i].Expected = backend.AnyVersion()
	}
	return appends
}

// eachCalling yields appends, and calls each before it does.
func eachCalling(appends []backend.StreamAppend, each func(i int)) iter.Seq2[backend.StreamAppend, error] {
	return func(yield func(backend.StreamAppend, error) bool) {
		for i, a := range appends {
			each(i)
			if !yield(a, nil) {
				return
			}
		}
	}
}

func yielding(appends []backend.StreamAppend) iter.Seq2[backend.StreamAppend, error] {
	return eachCalling(appends, func(int) {})
}

// importAll imports, and fails the test where that fails.
func (s *store) importAll(appends iter.Seq2[backend.StreamAppend, error], options backend.ImportOptions) backend.ImportProgress {
	s.t.Helper()
	done, err := backend.Import(s.t.Context(), s, appends, options, uuid.Nil)
	if err != nil {
		s.t.Fatalf("after %+v: %v", done, err)
	}
	return done
}

// wantImported fails the test where the event streams don't have the events of
// appends, each once, in order. Where only is false they may have others between.
func (s *store) wantImported(appends []backend.StreamAppend, only bool) {
	s.t.Helper()
	want := make(map[string][]uuid.UUID)
	for _, a := range appends {
		want[a.StreamUUID] = append(want[a.StreamUUID], idsOf(a.Events)...)
	}
	for name, ids := range want {
		known := make(map[uuid.UUID]bool)
		for _, id := range ids {
			known[id] = true
		}
		events := s.all(name)
		wantVersions(s.t, events, 1, uint64(len(events)))
		var got []uuid.UUID
		for _, e := range events {
			if only || known[e.EventUUID] {
				got = append(got, e.EventUUID)
			}
		}
		if !slices.Equal(got, ids) {
			s.t.Fatalf("%s has %d events, want %d, or in another order", name, len(got), len(ids))
		}
	}
}

// wantFirst fails the test where what is done of appends isn't stored, or of any
// event stream not what comes first.
func (s *store) wantFirst(appends []backend.StreamAppend, done backend.ImportProgress) {
	s.t.Helper()
	given, least := make(map[string][]uuid.UUID), make(map[string]int)
	for i, a := range appends {
		given[a.StreamUUID] = append(given[a.StreamUUID], idsOf(a.Events)...)
		if uint64(i) < done.Appends {
			least[a.StreamUUID] += len(a.Events)
		}
	}
	for name, ids := range given {
		events, err := s.ReadStream(s.t.Context(), name, 1, 1<<20, uuid.Nil)
		if err != nil && !errors.Is(err, backend.ErrStreamNotFound) {
			s.t.Fatal(err)
		}
		if len(events) < least[name] || len(events) > len(ids) {
			s.t.Fatalf("%s has %d events, of %d, of which %d are done", name, len(events), len(ids), least[name])
		}
		for i, e := range events {
			if e.EventUUID != ids[i] {
				s.t.Fatalf("%s: version %d is not the event %d of the import", name, e.StreamVersion, i)
			}
		}
	}
}

func TestAnImportOfNewEventStreamsIsOneRequestEach(t *testing.T) {
	for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.NoStream(), backend.ExactVersion(0)} {
		t.Run(expected.String(), func(t *testing.T) {
			s, p := counted(t, jetstream.Config{})
			appends := history("x", 300, 1)
			want := make([]string, len(appends))
			for i := range appends {
				appends[i].Expected = expected
				want[i] = "events." + appends[i].StreamUUID
			}
			got := requests(t, s, p, func() { s.importAll(yielding(appends), backend.ImportOptions{}) })
			slices.Sort(got)
			slices.Sort(want)
			wantRequests(t, got, want...)
			s.wantImported(appends, true)
		})
	}
}

func TestAnImportIntoEventStreamsKnownIsOneRequestEach(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	appends := history("x", 50, 3)
	s.importAll(yielding(appends[:50]), backend.ImportOptions{})
	for round := 1; round < 3; round++ {
		next := appends[round*50 : (round+1)*50]
		if round == 2 {
			next = anyVersion(next)
		}
		got := requests(t, s, p, func() { s.importAll(yielding(next), backend.ImportOptions{}) })
		if len(got) != 50 {
			t.Errorf("%d requests, want 50", len(got))
		}
	}
	s.wantImported(appends, true)
}

func TestAppendsOfAnImportThatWaitAreWrittenTogether(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	appends := history("x", 1, 1000)
	got := requests(t, s, p, func() {
		p.set(withheld)
		s.importAll(eachCalling(appends, func(i int) {
			if i == 500 { // by then, the first is under way, and the others wait
				p.set(flowing)
			}
		}), backend.ImportOptions{})
	})
	s.wantImported(appends, true)
	if len(got) > len(appends)/5 {
		t.Errorf("%d messages for %d appends", len(got), len(appends))
	}
}

func TestAnImportOfAnEventAMessageIsNeverGrouped(t *testing.T) {
	s := newStore(t, jetstream.Config{EventsPerMessage: 1, Storage: jetstream.MemoryStorage})
	appends := history("x", 3, 30)
	done := s.importAll(yielding(appends), backend.ImportOptions{})
	s.wantImported(appends, true)
	if got := s.lastSeq(); got != done.Events {
		t.Errorf("%d messages, want %d", got, done.Events)
	}
}

func TestNoMoreAppendsThanTheWindowAreUnderWay(t *testing.T) {
	for _, window := range []int{1, 3, 20} {
		s := newStore(t, jetstream.Config{})
		other := openStore(t, s.nc, jetstream.Config{})
		appends := history("x", 60, 1)
		s.importAll(eachCalling(appends, func(i int) {
			if stored := int(other.lastSeq()); stored < i-window {
				t.Errorf("append %d is asked for when %d are stored, with a window of %d", i, stored, window)
			}
		}), backend.ImportOptions{Window: window})
	}
}

// A large append takes the room of many.
func TestAppendsOfAnImportThatAreLargeAreStoredOnce(t *testing.T) {
	s := newShaky(t, jetstream.Config{RequestTimeout: time.Second})
	var appends []backend.StreamAppend
	for i := range 40 {
		events := sized(1+i%4, 400_000)
		for j := range events {
			events[j].EventUUID = uuid.New()
		}
		appends = append(appends, backend.StreamAppend{StreamUUID: fmt.Sprint("x-", i%6), Events: events})
	}
	s.importAll(eachCalling(appends, func(i int) {
		if i == 20 {
			s.p.cut()
		}
	}), backend.ImportOptions{})
	s.direct.wantImported(appends, true)
}

// disturbed are what may befall an import, which is called before each append,
// and in the end.
var disturbed = map[string]func(t *testing.T, s *shaky, i int){
	"messages get lost": func(_ *testing.T, s *shaky, i int) {
		if i == 0 {
			n := 0
			s.p.on(func(subject string) fate {
				if n++; strings.HasPrefix(subject, "events.") && n%20 == 0 {
					return swallow
				}
				return arrives
			})
		}
	},
	"answers get lost, until the connection is cut": func(_ *testing.T, s *shaky, i int) {
		switch i {
		case 100:
			s.p.set(lost)
		case 250:
			s.p.cut()
		}
	},
	"answers get lost, and the connection goes on": func(_ *testing.T, s *shaky, i int) {
		switch i % 200 {
		case 100:
			s.p.set(lost)
		case 150:
			s.p.set(flowing)
		}
	},
	"the connection is cut": func(_ *testing.T, s *shaky, i int) {
		if i%100 == 50 {
			s.p.cut()
		}
	},
	"the connection breaks under a message": func(_ *testing.T, s *shaky, i int) {
		if i%150 == 10 {
			n := 0
			s.p.on(func(subject string) fate {
				if n++; n == 20 {
					return severed
				}
				return arrives
			})
		}
	},
	"the server can't be reached for a while": func(t *testing.T, s *shaky, i int) {
		switch i {
		case 100:
			s.p.refuse(true)
			eventually(t, "the client notices", func() bool { return !s.nc.IsConnected() })
		case 300:
			s.p.refuse(false)
		}
	},
}

func TestAnImportThatIsDisturbedStoresEveryAppendOnce(t *testing.T) {
	for what, disturb := range disturbed {
		for _, expected := range []string{"with exact versions", "with any version"} {
			for name, cfg := range map[string]jetstream.Config{"": {}, ", an event a message": {EventsPerMessage: 1, Storage: jetstream.MemoryStorage}} {
				t.Run(what+", "+expected+name, func(t *testing.T) {
					t.Parallel() // they wait most of the time
					cfg.Timeout = patience
					s := newShaky(t, cfg)
					appends := history("x", 25, 20)
					if expected == "with any version" {
						appends = anyVersion(appends)
					}
					done := s.importAll(eachCalling(appends, func(i int) { disturb(t, s, i) }), backend.ImportOptions{Window: 400})
					if done.Appends != uint64(len(appends)) {
						t.Errorf("%+v of %d appends are done", done, len(appends))
					}
					s.direct.wantImported(appends, true)
					s.wantImported(appends, true)
				})
			}
		}
	}
}

func TestAnImportGoesOnAcrossARestart(t *testing.T) {
	srv := testserver.Single(t)
	for name, cfg := range map[string]jetstream.Config{"": {}, "an event a message": {EventsPerMessage: 1}} {
		cfg.RequestTimeout, cfg.Timeout = 300*time.Millisecond, patience
		s := openStore(t, srv.Connect(t), cfg)
		appends := history("x"+strings.ReplaceAll(name, " ", ""), 20, 15)
		s.importAll(eachCalling(appends, func(i int) {
			if i%100 == 50 {
				if err := srv.Restart(); err != nil {
					t.Error(err)
				}
			}
		}), backend.ImportOptions{})
		s.wantImported(appends, true)
		s.again(cfg).wantImported(appends, true)
	}
}

func TestAnImportGoesOnAcrossARollingRestartOfACluster(t *testing.T) {
	c := testserver.Cluster(t, 3)
	s := openStore(t, c.Connect(t), jetstream.Config{Replicas: 3, RequestTimeout: 500 * time.Millisecond, Timeout: patience})
	appends := history("x", 50, 18)
	s.importAll(eachCalling(appends, func(i int) {
		if i%300 == 200 {
			if err := c.Servers[i/300].Restart(); err != nil {
				t.Error(err)
			}
			c.WaitReady(t)
		}
	}), backend.ImportOptions{})
	s.wantImported(appends, true)
}

const importVariable = "TRIBUTARY_TEST_IMPORT"

// TestImportsUntilItIsKilled is the other process of
// [TestAnImportWhoseProcessIsKilledIsRepeated]. It imports what a number of
// others may have imported, and tells how far it is.
func TestImportsUntilItIsKilled(t *testing.T) {
	url, from, ok := strings.Cut(os.Getenv(importVariable), " ")
	if !ok {
		t.Skip("it is a part of another test")
	}
	n, err := strconv.Atoi(from)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s := openStore(t, nc, jetstream.Config{})
	s.importAll(yielding(killedHistory()[n:]), backend.ImportOptions{
		Progress:      func(p backend.ImportProgress) { fmt.Println("imported", n+int(p.Appends)) },
		ProgressEvery: time.Microsecond,
	})
}

func killedHistory() []backend.StreamAppend { return history("killed", 40, 100) }

func TestAnImportWhoseProcessIsKilledIsRepeated(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	srv := testserver.Single(t)
	appends := killedHistory()
	from, kills := 0, 0
	for {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestImportsUntilItIsKilled$", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", importVariable, srv.URL(), from))
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		told, until, killed := from, from+rand.IntN(len(appends)/4), false
		var said strings.Builder
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if text, ok := strings.CutPrefix(lines.Text(), "imported "); ok {
				if told, err = strconv.Atoi(text); err != nil {
					t.Fatal(err)
				}
			}
			if !killed && told >= until && kills < 12 {
				killed = true
				kills++
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		if !killed {
			if err != nil {
				t.Fatalf("%v:\n%s", err, said.String())
			}
			break
		}
		// From the beginning, or from where it was.
		if from = 0; kills%2 == 0 {
			from = told
		}
	}
	t.Logf("killed %d times", kills)
	if kills == 0 {
		t.Error("never killed")
	}
	openStore(t, srv.Connect(t), jetstream.Config{}).wantImported(appends, true)
}

func TestImportsOfSeveralProcessesLoseAndDoubleNothing(t *testing.T) {
	for _, cfg := range []jetstream.Config{{}, {EventsPerMessage: 1, Storage: jetstream.MemoryStorage}} {
		srv := testserver.Single(t)
		a, b := pair(t, srv.Connect, cfg)
		c, _ := pair(t, srv.Connect, cfg)
		same := history("same", 10, 20) // which all import
		mixed := make([][]backend.StreamAppend, 3)
		var wg sync.WaitGroup
		for i, s := range []*store{a, b, c} {
			mixed[i] = anyVersion(history("mixed", 4, 40))
			for j := range mixed[i] {
				for k := range mixed[i][j].Events {
					mixed[i][j].Events[k].EventUUID = uuid.New()
				}
			}
			for _, appends := range [][]backend.StreamAppend{same, mixed[i]} {
				wg.Go(func() {
					ctx := within(t, 2*patience)
					if done, err := backend.Import(ctx, s, yielding(appends), backend.ImportOptions{}, uuid.Nil); err != nil || done.Appends != uint64(len(appends)) {
						t.Errorf("%+v of %d appends are done: %v", done, len(appends), err)
					}
				})
			}
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		a.wantImported(same, true)
		events := 0
		for i := range mixed {
			b.wantImported(mixed[i], false)
			for _, a := range mixed[i] {
				events += len(a.Events)
			}
		}
		all, err := readAll(t.Context(), c, backend.ReadAllOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if all = slices.DeleteFunc(all, func(e backend.RecordedEvent) bool { return !strings.HasPrefix(e.StreamUUID, "mixed") }); len(all) != events {
			t.Errorf("%d events, want %d", len(all), events)
		}
	}
}

func TestAnImportEndsWhereTheBackendOrTheConnectionIsClosed(t *testing.T) {
	for name, end := range map[string]func(*shaky){
		"the backend":                        func(s *shaky) { s.Close() },
		"the backend, with answers withheld": func(s *shaky) { s.p.set(withheld); s.Close(); s.p.set(flowing) },
		"the connection":                     func(s *shaky) { s.nc.Close() },
		"the connection, with answers lost":  func(s *shaky) { s.p.set(lost); s.nc.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShaky(t, jetstream.Config{})
			appends := history("x", 20, 20)
			done, err := backend.Import(t.Context(), s, eachCalling(appends, func(i int) {
				if i == 150 {
					end(s)
				}
			}), backend.ImportOptions{Window: 100}, uuid.Nil)
			failed, ok := errors.AsType[*backend.ImportError](err)
			if !ok || !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, backend.ErrOutcomeUnknown) {
				t.Fatalf("error %v", err)
			}
			if failed.Index < done.Appends || failed.StreamUUID != appends[failed.Index].StreamUUID {
				t.Errorf("append %d failed, to %q; %d are done", failed.Index, failed.StreamUUID, done.Appends)
			}
			if done.Appends == 0 && !strings.Contains(name, "lost") {
				t.Error("nothing is done")
			}
			s.direct.wantFirst(appends, done)
			// It can be repeated by another.
			s.direct.importAll(yielding(appends), backend.ImportOptions{})
			s.direct.wantImported(appends, true)
		})
	}
}

func TestAnImportWithoutAServerEndsInTime(t *testing.T) {
	for name, deadline := range map[string]bool{"of the configuration": false, "of the context": true} {
		t.Run(name, func(t *testing.T) {
			cfg := jetstream.Config{Timeout: 300 * time.Millisecond, RequestTimeout: 100 * time.Millisecond}
			ctx := t.Context()
			if deadline {
				cfg.Timeout = time.Hour
				ctx = within(t, time.Second)
			}
			srv := testserver.Single(t)
			s := openStore(t, srv.Connect(t), cfg)
			appends := history("x", 20, 20)
			done, err := backend.Import(ctx, s, eachCalling(appends, func(i int) {
				if i == 100 {
					srv.Stop()
				}
			}), backend.ImportOptions{Window: 50}, uuid.Nil)
			if err == nil || !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("error %v", err)
			}
			if err := srv.Restart(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is back", func() bool {
				_, err := s.ReadStreamInfo(t.Context(), "x-0", uuid.Nil)
				return err == nil
			})
			s.wantFirst(appends, done)
			s.importAll(yielding(appends[done.Appends:]), backend.ImportOptions{})
			s.wantImported(appends, true)
		})
	}
}

func TestAnImportIntoAFullStoreFailsWithWhatIsDoneStored(t *testing.T) {
	s := newStore(t, jetstream.Config{MaxBytes: 256 << 10})
	appends := history("x", 50, 40)
	done, err := backend.Import(t.Context(), s, yielding(appends), backend.ImportOptions{}, uuid.Nil)
	if failed, ok := errors.AsType[*backend.ImportError](err); !ok || !errors.Is(err, backend.ErrStoreFull) || failed.Index < done.Appends {
		t.Fatalf("%+v are done, error %v, want ErrStoreFull", done, err)
	}
	if done.Appends == 0 {
		t.Error("nothing is done")
	}
	s.wantFirst(appends, done)
}

func TestProgressIsToldWhileAnImportWaits(t *testing.T) {
	s := newShaky(t, jetstream.Config{RequestTimeout: patience})
	appends := history("x", 30, 1)
	s.p.set(withheld)
	calls := 0
	done := s.importAll(yielding(appends), backend.ImportOptions{Window: 10, ProgressEvery: time.Millisecond, Progress: func(p backend.ImportProgress) {
		if calls++; calls == 5 { // all of it waits for answers
			if p.Appends != 0 {
				t.Errorf("told of %+v without an answer", p)
			}
			s.p.set(flowing)
		}
	}})
	if done.Appends != 30 || calls < 5 {
		t.Errorf("%+v are done, told %d times", done, calls)
	}
}

func TestAppendsOfAnImportAreWrittenTogetherAsFarAsAMessageGoes(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	var appends []backend.StreamAppend
	for range 300 {
		events := identified(1)
		events[0].Metadata = make([]byte, 4000) // as a header, some 15 go into a message
		appends = append(appends, backend.StreamAppend{StreamUUID: "x", Events: events})
	}
	s.importAll(yielding(appends), backend.ImportOptions{})
	s.wantImported(appends, true)
	if got := s.lastSeq(); got > 150 {
		t.Errorf("%d messages", got)
	}
}

func TestAnAppendOfAnImportThatCantBeStoredFailsByItsIndex(t *testing.T) {
	for _, row := range []struct {
		name   string
		cfg    jetstream.Config
		events []backend.UnsavedEvent
		want   error
	}{
		{"an event larger than a message", jetstream.Config{}, sized(1, 1<<20), backend.ErrEventTooLarge},
		{"more events than a batch has messages", jetstream.Config{EventsPerMessage: 1, Storage: jetstream.MemoryStorage}, identified(1001), backend.ErrAppendTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStore(t, row.cfg)
			appends := anyVersion(history("x", 1, 20))
			bad := slices.Insert(slices.Clone(appends), 10, backend.StreamAppend{StreamUUID: "x-0", Events: row.events})
			done, err := backend.Import(t.Context(), s, yielding(bad), backend.ImportOptions{}, uuid.Nil)
			failed, ok := errors.AsType[*backend.ImportError](err)
			if !ok || failed.Index != 10 || failed.StreamUUID != "x-0" || !errors.Is(err, row.want) || done.Appends != 10 {
				t.Errorf("%+v are done, error %v, want %v of append 10", done, err, row.want)
			}
			s.wantImported(appends[:10], true)
		})
	}
}
