package million

import "time"

// Result is what a run measured.
type Result struct {
	ServerVersion string // of nats-server
	Stages        []Stage
	ReadAll       Scan // of the whole store, after the last stage
}

// Stage is what was measured when the store had a number of event streams.
//
// A load is of [MeasuredCommits] scattered commits. Raw gets, to compare, are
// nats.go's alone: one of the last message, then nine of known sequences, asked
// for at once.
type Stage struct {
	// EventStreams is how many the store had.
	EventStreams int

	// Commits is how many the store had when it was filled.
	Commits uint64

	// Fill is the import that brought it there from the stage before.
	Fill Fill

	// StoredBytes is the size of all messages as the server counts it.
	StoredBytes uint64

	// DiskBytes is the size of the server's files.
	DiskBytes int64

	// What the server's process had of memory: when the store was filled; after
	// the cold and warm loads and the appends; and just after a start: the one
	// after it was killed, and the first of the Restarts.
	Filled, Measured, Recovered, Reopened Memory

	// Cold are loads of ten scattered commits by a Backend that was just opened, of
	// event streams that nobody has read, after the server was left alone for
	// [Config.Idle]. In order.
	Cold Times

	// Warm are the same loads by the same Backend, again. In turns with them,
	// WarmRaw are raw gets of the same commits.
	Warm, WarmRaw Times

	// Restarted are such loads, each of an event stream that nobody has read, by
	// Backends opened after a restart of the server. In turns with them,
	// RestartedRaw are raw gets of other event streams alike, whose positions were
	// looked up before the restart. In order, restart by restart.
	Restarted, RestartedRaw Times

	// First and FirstRaw are those of them that were the very first after their
	// restart: of every other restart each.
	First, FirstRaw Times

	// AppendKnown are appends of one event to event streams whose heads the Backend
	// knows.
	AppendKnown Times

	// AppendUnknown are appends of one event, with any version, to event streams
	// that the Backend doesn't know, and that nobody has read.
	AppendUnknown Times

	// Recovery is how long it took from the server's start until jetstream.Open
	// returned, which asks it for the JetStream stream, after it was killed. It had
	// last written down the state of its store up to two minutes before.
	Recovery time.Duration

	// Stops are how long the server took to end when asked to, and Restarts how
	// long it took from its start after that until jetstream.Open returned.
	Stops, Restarts Times
}

// Fill is an import.
type Fill struct {
	Commits uint64
	Took    time.Duration
}

// Rate is in commits a second.
func (f Fill) Rate() float64 { return rate(f.Commits, f.Took) }

// Scan is a reading of many commits in order of position, of one event each.
type Scan struct {
	Commits uint64
	Took    time.Duration
}

// Rate is in commits a second.
func (s Scan) Rate() float64 { return rate(s.Commits, s.Took) }

func rate(n uint64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

// Memory is what a process has of memory, in bytes; 0 where this system doesn't
// tell (it is read from /proc).
type Memory struct {
	RSS  int64 // resident now
	Peak int64 // the most that was, since the process started
}

// Times are durations in the order in which they were measured.
type Times []time.Duration

// Seconds returns them as numbers.
func (t Times) Seconds() []float64 {
	seconds := make([]float64, len(t))
	for i, d := range t {
		seconds[i] = d.Seconds()
	}
	return seconds
}
