package million

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/raw"
	"github.com/tributary-es/tributary/bench/internal/servers"
	"github.com/tributary-es/tributary/jetstream"
)

const (
	// progressEvery is the least time between two lines about a long piece of work.
	progressEvery = 5 * time.Second

	// patience bounds a load or an append. The first ones after a restart can take
	// long in a large store.
	patience = time.Minute

	// stopTimeout is how long the server may take to end before it is killed.
	stopTimeout = time.Minute
)

// run is a run under way.
type run struct {
	cfg    Config
	dir    string // the server's
	server *servers.Process
	nc     *nats.Conn
	res    *Result
}

func (r *run) say(format string, args ...any) { r.cfg.Progress(fmt.Sprintf(format, args...)) }

// start starts the server and connects to it.
func (r *run) start(ctx context.Context) error {
	server, err := servers.StartProcess(ctx, servers.Order{Dir: r.dir})
	if err != nil {
		return err
	}
	r.server = server
	if r.nc, err = nats.Connect(server.URL, nats.Name("tributary million"), nats.Timeout(patience)); err != nil {
		return fmt.Errorf("connecting to %s: %w", server.URL, err)
	}
	r.res.ServerVersion = r.nc.ConnectedServerVersion()
	return nil
}

// close ends what start has begun; it may be called again.
func (r *run) close() error {
	if r.nc != nil {
		r.nc.Close()
	}
	server := r.server
	r.nc, r.server = nil, nil
	if server == nil {
		return nil
	}
	return server.Stop(stopTimeout)
}

// open returns a Backend that knows nothing.
func (r *run) open(ctx context.Context) (*jetstream.Backend, error) {
	return jetstream.Open(ctx, r.nc, jetstream.Config{Timeout: patience})
}

// reopen starts the server again and returns a new Backend, with how long that
// took.
func (r *run) reopen(ctx context.Context) (*jetstream.Backend, time.Duration, error) {
	started := time.Now()
	if err := r.start(ctx); err != nil {
		return nil, 0, err
	}
	b, err := r.open(ctx)
	return b, time.Since(started), err
}

// stage fills the store by a stage, and measures.
func (r *run) stage(ctx context.Context, p plan) (Stage, error) {
	s := Stage{EventStreams: p.after}
	for _, step := range []func(context.Context, plan, *Stage) error{
		r.fill, r.size, r.loadAndAppend, r.recover, r.restart,
	} {
		if err := step(ctx, p, &s); err != nil {
			return Stage{}, err
		}
	}
	return s, nil
}

// fill imports the stage's commits.
func (r *run) fill(ctx context.Context, p plan, s *Stage) error {
	b, err := jetstream.Open(ctx, r.nc, jetstream.Config{
		Timeout: patience,
		// Every event stream comes again and again, so all heads are worth keeping.
		HeadCacheSize: max(jetstream.DefaultHeadCacheSize, p.after-p.before),
		// Each append is to be a commit, also where two to one event stream come
		// shortly after each other.
		EventsPerMessage: 1,
	})
	if err != nil {
		return err
	}
	defer b.Close()
	appends := p.appends() // whose order is made before time is taken
	started := time.Now()
	progress := func(done backend.ImportProgress) {
		r.say("%d event streams: %d of %d commits appended, %.0f/s", p.after, done.Appends, p.commits, rate(done.Appends, time.Since(started)))
	}
	done, err := backend.Import(ctx, b, appends, backend.ImportOptions{Progress: progress, ProgressEvery: progressEvery}, uuid.Nil)
	s.Fill = Fill{Commits: done.Appends, Took: time.Since(started)}
	if err != nil {
		return err
	}
	s.Filled, err = memoryOf(r.server.PID())
	return err
}

// size looks at how large the store is.
func (r *run) size(ctx context.Context, p plan, s *Stage) error {
	state, err := r.state(ctx)
	if err != nil {
		return err
	}
	if state.NumSubjects != uint64(p.after) {
		return fmt.Errorf("the store has %d event streams, not %d", state.NumSubjects, p.after)
	}
	s.Commits, s.StoredBytes = state.Msgs, state.Bytes
	s.DiskBytes, err = sizeOf(r.dir)
	return err
}

func (r *run) state(ctx context.Context) (natsjs.StreamState, error) {
	js, err := natsjs.New(r.nc, natsjs.WithDefaultTimeout(patience))
	if err != nil {
		return natsjs.StreamState{}, err
	}
	stream, err := js.Stream(ctx, jetstream.DefaultStream)
	if err != nil {
		return natsjs.StreamState{}, err
	}
	return stream.CachedInfo().State, nil
}

// loadAndAppend measures loads and appends on the server that filled the store.
func (r *run) loadAndAppend(ctx context.Context, p plan, s *Stage) error {
	if r.cfg.Idle > 0 {
		r.say("%d event streams: leaving the server alone for %v", p.after, r.cfg.Idle)
		select {
		case <-time.After(r.cfg.Idle):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	streams := p.coldOnes()
	places := make([]place, len(streams))
	s.Cold = make(Times, len(streams))
	for i, stream := range streams {
		if places[i], s.Cold[i], err = r.load(ctx, b, stream); err != nil {
			return err
		}
	}
	if s.Warm, s.WarmRaw, err = r.loadInTurns(ctx, b, streams, places, 0); err != nil {
		return err
	}
	// The heads were read just now.
	if s.AppendKnown, err = appendAll(ctx, b, streams, backend.ExactVersion(MeasuredCommits), p.data); err != nil {
		return err
	}
	if s.AppendUnknown, err = appendAll(ctx, b, p.others(r.cfg.Loads), backend.AnyVersion(), p.data); err != nil {
		return err
	}
	s.Measured, err = memoryOf(r.server.PID())
	r.say("%d event streams: a load of %d commits took %v cold (the first %v), %v warm (raw gets %v), an append %v", p.after, MeasuredCommits,
		median(s.Cold), s.Cold[0], median(s.Warm), median(s.WarmRaw), median(s.AppendKnown))
	return err
}

// recover measures the start of a server that was killed.
func (r *run) recover(ctx context.Context, p plan, s *Stage) error {
	before, err := r.state(ctx)
	if err != nil {
		return err
	}
	r.nc.Close()
	if err := r.server.Kill(); err != nil {
		return err
	}
	r.server = nil
	b, took, err := r.reopen(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	s.Recovery = took
	if s.Recovered, err = memoryOf(r.server.PID()); err != nil {
		return err
	}
	after, err := r.state(ctx)
	if err == nil && (after.LastSeq != before.LastSeq || after.Msgs != before.Msgs) {
		err = fmt.Errorf("after it was killed, the server has %d commits up to position %d, before it had %d up to %d",
			after.Msgs, after.LastSeq, before.Msgs, before.LastSeq)
	}
	r.say("%d event streams: killed and started again in %v", p.after, took)
	return err
}

// restart measures restarts of the server, and loads after them.
func (r *run) restart(ctx context.Context, p plan, s *Stage) error {
	streams, known := p.restartedOnes()
	places, err := r.places(ctx, known)
	if err != nil {
		return err
	}
	for i := range r.cfg.Restarts {
		stopping := time.Now()
		if err := r.close(); err != nil {
			return err
		}
		s.Stops = append(s.Stops, time.Since(stopping))
		b, took, err := r.reopen(ctx)
		if err != nil {
			return err
		}
		s.Restarts = append(s.Restarts, took)
		if i == 0 {
			if s.Reopened, err = memoryOf(r.server.PID()); err != nil {
				return err
			}
		}
		from, to := i*len(streams)/r.cfg.Restarts, (i+1)*len(streams)/r.cfg.Restarts
		ours, theirs, err := r.loadInTurns(ctx, b, streams[from:to], places[from:to], i)
		_ = b.Close()
		if err != nil {
			return err
		}
		s.Restarted, s.RestartedRaw = append(s.Restarted, ours...), append(s.RestartedRaw, theirs...)
		if i%2 == 0 {
			s.First = append(s.First, ours[0])
		} else {
			s.FirstRaw = append(s.FirstRaw, theirs[0])
		}
	}
	r.say("%d event streams: a restart took %v, then the first load %v (raw gets %v), all %v (raw gets %v)", p.after,
		median(s.Restarts), median(s.First), median(s.FirstRaw), median(s.Restarted), median(s.RestartedRaw))
	return nil
}

// places looks up where event streams lie.
func (r *run) places(ctx context.Context, streams []int) ([]place, error) {
	b, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	places := make([]place, len(streams))
	for i, stream := range streams {
		if places[i], _, err = r.load(ctx, b, stream); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// readAll measures reading the store from its beginning.
func (r *run) readAll(ctx context.Context) (Scan, error) {
	b, err := r.open(ctx)
	if err != nil {
		return Scan{}, err
	}
	defer b.Close()
	var scan Scan
	started, said := time.Now(), time.Now()
	for batch, err := range backend.ReadAll(ctx, b, backend.ReadAllOptions{Limit: uint64(r.cfg.ReadAll)}, uuid.Nil) {
		if err != nil {
			return Scan{}, err
		}
		scan.Commits += uint64(len(batch))
		if time.Since(said) >= progressEvery {
			said = time.Now()
			r.say("reading all: %d of %d commits", scan.Commits, r.cfg.ReadAll)
		}
	}
	scan.Took = time.Since(started)
	r.say("reading all: %d commits, %.0f/s", scan.Commits, scan.Rate())
	return scan, nil
}

// place is where an event stream lies.
type place struct {
	subject   string
	positions []uint64 // of all commits but the last, which is found by its subject
}

// load loads an event stream, with how long that took.
func (r *run) load(ctx context.Context, b backend.Backend, stream int) (place, time.Duration, error) {
	name := nameOf(stream)
	started := time.Now()
	events, err := b.ReadStream(ctx, name, 1, MeasuredCommits, uuid.Nil)
	took := time.Since(started)
	if err != nil {
		return place{}, took, fmt.Errorf("loading %s: %w", name, err)
	}
	at := place{subject: jetstream.DefaultPrefix + "." + name}
	for _, e := range events {
		at.positions = append(at.positions, e.Position)
	}
	// Appends that were written together would be fewer commits.
	if n := len(slices.Compact(at.positions)); n != MeasuredCommits || len(events) != n {
		return place{}, took, fmt.Errorf("%s has %d events in %d commits, not %d in as many", name, len(events), n, MeasuredCommits)
	}
	at.positions = at.positions[:MeasuredCommits-1]
	return at, took, nil
}

// loadInTurns loads each of streams, and what lies at each of places by raw gets,
// in turns. The first to begin are the loads where first is even.
func (r *run) loadInTurns(ctx context.Context, b backend.Backend, streams []int, places []place, first int) (ours, theirs Times, err error) {
	client, err := raw.NewClient(ctx, r.nc, jetstream.DefaultStream)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs = make(Times, len(streams)), make(Times, len(streams))
	for turn := range 2 * len(streams) {
		i := turn / 2
		if (turn+first)%2 == 0 {
			_, ours[i], err = r.load(ctx, b, streams[i])
		} else {
			theirs[i], err = get(ctx, client, places[i])
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return ours, theirs, nil
}

// get gets the commits of an event stream whose positions are known, with
// nats.go alone: the last message, then the others, asked for at once.
func get(ctx context.Context, client *raw.Client, at place) (time.Duration, error) {
	started := time.Now()
	_, _, err := client.Last(ctx, at.subject)
	if err == nil {
		_, err = client.Get(ctx, at.positions)
	}
	if err != nil {
		return 0, fmt.Errorf("raw gets of %s: %w", at.subject, err)
	}
	return time.Since(started), nil
}

// appendAll appends an event to event streams, one after the other.
func appendAll(ctx context.Context, b backend.Backend, streams []int, expected backend.ExpectedVersion, data []byte) (Times, error) {
	times := make(Times, len(streams))
	for i, s := range streams {
		name := nameOf(s)
		events := []backend.UnsavedEvent{{EventType: "MoneyDeposited", Data: data}}
		started := time.Now()
		_, err := backend.Append(ctx, b, name, expected, events, uuid.Nil)
		times[i] = time.Since(started)
		if err != nil {
			return nil, fmt.Errorf("appending to %s: %w", name, err)
		}
	}
	return times, nil
}

// sizeOf is the size of all files below dir, in bytes.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server replaces files of its own
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

func median(t Times) time.Duration {
	return time.Duration(measure.Summarize(t.Seconds()).Median * float64(time.Second)).Round(time.Microsecond)
}
