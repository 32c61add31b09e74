package wire

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/textproto"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

// oneEvent is a commit of one event, and threeEvents one of three, each with
// headers changed; nil removes one.
func oneEvent(changes map[string][]string) map[string][]string {
	return change(map[string][]string{HeaderVersion: {"5"}, HeaderID: {id1}}, changes)
}

func threeEvents(changes map[string][]string) map[string][]string {
	return change(map[string][]string{HeaderVersion: {"5"}, HeaderID: {id1 + "," + id2 + "," + id3}, HeaderSize: {"1,0,2"}}, changes)
}

func change(more, changes map[string][]string) map[string][]string {
	maps.Copy(more, changes)
	return headersWith(more)
}

// decodeAll decodes the message and its events.
func decodeAll(header map[string][]string, body string) ([]backend.RecordedEvent, error) {
	rec, err := Decode(header, []byte(body))
	if err != nil {
		return nil, err
	}
	return rec.AppendEvents(nil, testCommon, 0, math.MaxUint64)
}

func TestTheMessagesOfTheDecodeTestsAreGood(t *testing.T) {
	if got, err := decodeAll(oneEvent(nil), "x"); len(got) != 1 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := decodeAll(threeEvents(nil), "a\n\nbc"); len(got) != 3 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

type malformed struct {
	name   string
	header map[string][]string
	body   string
	text   string // in the error's
}

func (m malformed) check(t *testing.T) {
	t.Run(m.name, func(t *testing.T) {
		got, err := decodeAll(m.header, m.body)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), m.text) || len(err.Error()) > 500 {
			t.Errorf("%+v, error %v, want ErrMalformed with %q", got, err, m.text)
		}
	})
}

func TestF39_AnUnknownFormatOrKindIsAnError(t *testing.T) {
	for _, m := range []malformed{
		{"no headers", nil, "x", "no Trib-Commit"},
		{"other headers", map[string][]string{"Content-Type": {"text/plain"}}, "x", "no Trib-Commit"},
		{"empty", oneEvent(map[string][]string{HeaderCommit: {""}}), "x", "no Trib-Commit"},
		{"twice", oneEvent(map[string][]string{HeaderCommit: {"1 events", "1 events"}}), "x", "2 values of Trib-Commit"},
		{"format 2", oneEvent(map[string][]string{HeaderCommit: {"2 events"}}), "x", `format version "2", this reads 1`},
		{"format 2 alone", oneEvent(map[string][]string{HeaderCommit: {"2"}}), "x", `format version "2", this reads 1`},
		{"format 01", oneEvent(map[string][]string{HeaderCommit: {"01 events"}}), "x", `format version "01"`},
		{"a long format", oneEvent(map[string][]string{HeaderCommit: {strings.Repeat("9", 1e5)}}), "x", "format version"},
		{"no kind", oneEvent(map[string][]string{HeaderCommit: {"1"}}), "x", `unknown kind ""`},
		{"unknown kind", oneEvent(map[string][]string{HeaderCommit: {"1 archived"}}), "x", `unknown kind "archived"`},
		{"other case", oneEvent(map[string][]string{HeaderCommit: {"1 Events"}}), "x", `unknown kind "Events"`},
		{"a name in other case", map[string][]string{"trib-commit": {"1 events"}}, "x", "no Trib-Commit"},
	} {
		m.check(t)
	}
}

func TestF40_AMalformedMessageIsAnError(t *testing.T) {
	one := func(name string, values ...string) map[string][]string {
		return oneEvent(map[string][]string{name: values})
	}
	three := func(name string, values ...string) map[string][]string {
		return threeEvents(map[string][]string{name: values})
	}
	const threeBody = "a\n\nbc"
	list := []malformed{
		{"no version", one(HeaderVersion), "x", "bad Trib-Version"},
		{"version of no number", one(HeaderVersion, "x"), "x", `bad Trib-Version "x"`},
		{"negative version", one(HeaderVersion, "-1"), "x", "bad Trib-Version"},
		{"version with a sign", one(HeaderVersion, "+1"), "x", "bad Trib-Version"},
		{"the last number as version", one(HeaderVersion, "18446744073709551615"), "x", "bad Trib-Version"},
		{"version too large", one(HeaderVersion, "18446744073709551616"), "x", "bad Trib-Version"},
		{"version twice", one(HeaderVersion, "5", "5"), "x", "2 values of Trib-Version"},
		{"version 0 with events", one(HeaderVersion, "0"), "x", "1 events up to version 0"},
		{"version below the events", three(HeaderVersion, "2"), threeBody, "3 events up to version 2"},

		{"no stream", one(HeaderStream), "x", "bad Trib-Stream"},
		{"stream 0", one(HeaderStream, "0 2026-03-01T08:00:00Z"), "x", "bad Trib-Stream"},
		{"stream without time", one(HeaderStream, "7"), "x", "bad Trib-Stream"},
		{"stream with a bad time", one(HeaderStream, "7 yesterday"), "x", "bad time in Trib-Stream"},
		{"stream before year 1", one(HeaderStream, "7 0001-01-01T00:00:00+23:59"), "x", "bad time in Trib-Stream"},
		{"stream after year 9999", one(HeaderStream, "7 9999-12-31T23:59:59-01:00"), "x", "bad time in Trib-Stream"},
		{"stream twice", one(HeaderStream, "7 2026-03-01T08:00:00Z", "7 2026-03-01T08:00:00Z"), "x", "2 values of Trib-Stream"},

		{"first 0", one(HeaderFirst, "0"), "x", "Trib-First 0"},
		{"first beyond the next", one(HeaderFirst, "7"), "x", "Trib-First 7 of version 5"},
		{"first of no number", one(HeaderFirst, "one"), "x", "bad Trib-First"},
		{"empty first", one(HeaderFirst, ""), "x", "bad Trib-First"},
		{"deleted at no time", one(HeaderDeleted, "yes"), "x", "bad time in Trib-Deleted"},
		{"deleted twice", one(HeaderDeleted, "", ""), "x", "2 values of Trib-Deleted"},

		{"no id", one(HeaderID), "x", "no Trib-Id"},
		{"empty id", one(HeaderID, ""), "x", "no Trib-Id"},
		{"bad id", one(HeaderID, "1"), "x", "bad id in Trib-Id"},
		{"id in braces", one(HeaderID, "{"+id1+"}"), "x", "bad id in Trib-Id"},
		{"id without dashes", one(HeaderID, strings.ReplaceAll(id1, "-", "")), "x", "bad id in Trib-Id"},
		{"id twice", one(HeaderID, id1, id1), "x", "2 values of Trib-Id"},
		{"an empty id among three", three(HeaderID, id1+",,"+id3), threeBody, "empty id in Trib-Id"},
		{"nil id", one(HeaderID, "00000000-0000-0000-0000-000000000000"), "x", "empty id in Trib-Id"},
		{"many empty ids", oneEvent(map[string][]string{HeaderID: {strings.Repeat(",", 30000)}, HeaderVersion: {"40000"}}), "x", "no Trib-Size"},
		{"more ids than versions", one(HeaderID, strings.Repeat(",", 30000)), "x", "30001 events up to version 5"},

		{"no type", one(HeaderType), "x", "without a type"},
		{"empty type among three", three(HeaderType, "A,,C"), threeBody, "without a type"},
		{"too few types", three(HeaderType, "A,B"), threeBody, "3 events, 2 values in Trib-Type"},
		{"too many types", three(HeaderType, "A,B,C,D"), threeBody, "3 events, 4 values in Trib-Type"},
		{"two types of one", one(HeaderType, "A,B"), "x", "1 events, 2 values in Trib-Type"},
		{"type twice", one(HeaderType, "A", "B"), "x", "2 values of Trib-Type"},
		{"bad escape in a type", one(HeaderType, "A%zz"), "x", "bad escape"},
		{"cut-off escape in a type", one(HeaderType, "A%0"), "x", "an escape is cut off"},

		{"no created", one(HeaderCreated), "x", "bad time in Trib-Created"},
		{"bad created", one(HeaderCreated, "now"), "x", "bad time in Trib-Created"},
		{"created in year 0", one(HeaderCreated, "0000-12-31T23:59:59Z"), "x", "bad time in Trib-Created"},
		{"one created of three is empty", three(HeaderCreated, "2026-03-01T08:00:00Z,,2026-03-01T08:00:00Z"), threeBody, "bad time in Trib-Created"},
		{"bad causation", one(HeaderCausation, "x"), "x", "bad id in Trib-Causation"},
		{"bad correlation", three(HeaderCorrelation, ",x,"), threeBody, "bad id in Trib-Correlation"},
		{"too few causations", three(HeaderCausation, ","), threeBody, "3 events, 2 values in Trib-Causation"},
		{"two metadata of three", three(HeaderMetadata, "a,b"), threeBody, "3 events, 2 values in Trib-Metadata"},
		{"metadata twice", one(HeaderMetadata, "a", "b"), "x", "2 values of Trib-Metadata"},
		{"bad escape in metadata", one(HeaderMetadata, "%"), "x", "an escape is cut off"},

		{"no body", oneEvent(nil), "", "no Trib-Size"},
		{"three without sizes", three(HeaderSize), threeBody, "no Trib-Size"},
		{"size twice", three(HeaderSize, "1,0,2", "1,0,2"), threeBody, "2 values of Trib-Size"},
		{"too few sizes", three(HeaderSize, "1,3"), threeBody, "3 events, 2 sizes"},
		{"too many sizes", three(HeaderSize, "1,0,1,0"), threeBody, "3 events, 4 sizes"},
		{"sizes above the body", three(HeaderSize, "1,0,3"), threeBody, "make 6 bytes, a body of 5"},
		{"sizes below the body", three(HeaderSize, "1,0,1"), threeBody, "make 4 bytes, a body of 5"},
		{"size of no number", three(HeaderSize, "1,x,2"), threeBody, `bad Trib-Size "x"`},
		{"negative size", three(HeaderSize, "5,-2,0"), threeBody, "bad Trib-Size"},
		{"huge size", one(HeaderSize, "99999999999999999999"), "x", "bad Trib-Size"},
		{"size 0 of a longer body", one(HeaderSize, "0"), "xy", "make 1 bytes, a body of 2"},
	}
	for _, value := range []string{"1", "1/2", "/", "1/2 ", "1/2 x", "0/2 3", "3/2 3", "1/1 3", "1/2 old", "1/1001 3", "1/4294967296 3", "1/2 5", "x/2 3",
		"1/x 3", "1/2  3", "1/2 3 4", "-1/2 3", "1/2 18446744073709551616", "1/2 New"} {
		list = append(list, malformed{"part " + value, one(HeaderPart, value), "x", "bad Trib-Part"})
	}
	list = append(list, malformed{"part twice", one(HeaderPart, "1/2 3", "1/2 3"), "x", "2 values of Trib-Part"})
	for _, m := range list {
		m.check(t)
	}
}

func TestMarkersAreCheckedToo(t *testing.T) {
	good := map[string][]string{HeaderCommit: {"1 restored"}, HeaderVersion: {"5"}, HeaderStream: {"7 2026-03-01T08:00:00Z"}, HeaderID: {id1}}
	for name, value := range map[string]string{HeaderVersion: "", HeaderStream: "7", HeaderFirst: "9", HeaderDeleted: "x", HeaderID: "x"} {
		header := maps.Clone(good)
		header[name] = []string{value}
		if rec, err := Decode(header, []byte("\n")); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s %q: %+v, %v, want ErrMalformed", name, value, rec, err)
		}
	}
}

func TestF15_OtherHeadersAreIgnored(t *testing.T) {
	want, err := decodeAll(threeEvents(nil), "a\n\nbc")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeAll(threeEvents(map[string][]string{
		"Trib-Colour": {"red", "green"}, "Trib-id": {"x"}, "TRIB-VERSION": {"9"}, "Trib-Ids": {"%"}, "": {"x"},
		"Nats-Expected-Last-Subject-Sequence": {"4"}, "Nats-Batch-Id": {"b"}, "Nats-Stream": {"S"}, "traceparent": {"00-1-1-01"},
	}), "a\n\nbc")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestF18_OneValueStandsForAll(t *testing.T) {
	got, err := decodeAll(threeEvents(map[string][]string{
		HeaderType: {"A,B,C"}, HeaderCausation: {id2}, HeaderCorrelation: {"," + id1 + ","}, HeaderMetadata: {"%00"},
	}), "a\n\nbc")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range got {
		lines = append(lines, fmt.Sprintf("%d %s %q %.1s %.1s %q", e.StreamVersion, e.EventType, e.Data, e.CausationID, e.CorrelationID, e.Metadata))
	}
	want := []string{
		`3 A "a" 0 0 "\x00"`,
		`4 B "" 0 0 "\x00"`,
		`5 C "bc" 0 0 "\x00"`,
	}
	if !slices.Equal(lines, want) || got[0].CausationID != nthID(2) || got[2].CausationID != nthID(2) ||
		got[1].CorrelationID != nthID(1) || got[2].CorrelationID == nthID(1) {
		t.Errorf("%q", lines)
	}
}

func TestF19_TimesWithAnOffsetAreRead(t *testing.T) {
	got, err := decodeAll(oneEvent(map[string][]string{HeaderCreated: {"2026-03-01T11:30:00.123456789+02:00"}}), "x")
	if err != nil || len(got) != 1 || got[0].CreatedAt != testTime {
		t.Errorf("%+v, %v, want %v", got, err, testTime)
	}
}

func TestF21_TheJoiningByteIsNotLookedAt(t *testing.T) {
	got, err := decodeAll(threeEvents(nil), "a--bc")
	if err != nil || len(got) != 3 || string(got[0].Data) != "a" || got[1].Data != nil || string(got[2].Data) != "bc" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestF28_TheChainsSyntax(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  []Link
	}{
		{"17:1", []Link{{17, 1, 1}}},
		{"17:1:1", []Link{{17, 1, 1}}},
		{"40:2 17:300:4", []Link{{40, 2, 1}, {17, 300, 4}}},
		{"18446744073709551615:4294967295:1000", []Link{{math.MaxUint64, math.MaxUint32, 1000}}},
	} {
		rec, err := Decode(oneEvent(map[string][]string{HeaderChain: {tt.value}}), []byte("x"))
		if err != nil || !slices.Equal(rec.Chain(), tt.want) {
			t.Errorf("%q: %v, %v, want %v", tt.value, rec.Chain(), err, tt.want)
		}
	}
}

func TestF29_AWrongChainIsNoError(t *testing.T) {
	for value, want := range map[string]int{
		"":                                   0,
		" ":                                  0,
		"x":                                  0,
		"17":                                 0,
		"17:":                                0,
		"17:0":                               0,
		"0:1":                                0,
		":1":                                 0,
		"17:1:":                              0,
		"17:1:0":                             0,
		"17:1:1:1":                           0,
		"17:1:18":                            0, // more messages than positions
		"5000:1:1001":                        0, // more than a commit can have: who trusts it asks for all of them
		"9000000000:1:4294967295":            0,
		"17:4294967296":                      0,
		"18446744073709551616:1":             0,
		"-1:1":                               0,
		"17:1  16:1":                         1,
		"17:1 16":                            1,
		"17:1 16:1 x":                        2,
		"17:1 17:1":                          2, // nonsense, but of the syntax
		strings.Repeat("17:1 ", 14) + "17:1": MaxChain,
		strings.Repeat("17:1 ", 5000):        MaxChain,
	} {
		rec, err := Decode(oneEvent(map[string][]string{HeaderChain: {value}}), []byte("x"))
		if err != nil || len(rec.Chain()) != want || cap(rec.Chain()) > MaxChain {
			t.Errorf("%.40q: %d links in %d, %v, want %d", value, len(rec.Chain()), cap(rec.Chain()), err, want)
		}
	}
	rec, err := Decode(oneEvent(map[string][]string{HeaderChain: {"17:1", "16:1"}}), []byte("x"))
	if err != nil || len(rec.Chain()) != 0 {
		t.Errorf("two chains: %v, %v", rec.Chain(), err)
	}
}

func TestKindsHaveNames(t *testing.T) {
	for k := Events; k <= Erased; k++ {
		var got Record
		got.header = map[string][]string{HeaderCommit: {commitValue(k)}}
		if err := got.decodeCommit(); err != nil || got.Kind != k {
			t.Errorf("kind %v is read as %v, %v", k, got.Kind, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range goldenMessages(f) {
		text, body, _ := strings.Cut(m.text, "\n\n")
		f.Add(text, []byte(body))
	}
	for _, text := range nastyHeaders() {
		f.Add(text, []byte("x"))
	}
	f.Add("Trib-Commit: 1 events\nTrib-Version: 9\nTrib-Stream: 1 2026-03-01T08:00:00Z\nTrib-Id: ,,,,\nTrib-Size: 0,0,0,0,0", []byte("\n\n\n\n"))
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		header := parseHeader(text)
		checkMemory(t, header, body)
		rec, err := Decode(header, body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			if rec.Events != 0 || rec.Chain() != nil || rec.State != (State{}) {
				t.Fatalf("a record with the error: %+v", rec)
			}
			return
		}
		if len(rec.Chain()) > MaxChain || rec.State.ID == 0 || uint64(rec.Events) > rec.State.Version || rec.State.First-1 > rec.State.Version || rec.Part.Count > MaxParts {
			t.Fatalf("decoded %+v", rec)
		}
		got, err := rec.AppendEvents(nil, testCommon, 0, math.MaxUint64)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(got) != rec.Events {
			t.Fatalf("%d events of %d", len(got), rec.Events)
		}
		total := 0
		for i, e := range got {
			total += len(e.Data)
			if e.StreamVersion != rec.FirstVersion()+uint64(i) {
				t.Fatalf("event %d has version %d, the first %d", i, e.StreamVersion, rec.FirstVersion())
			}
		}
		if total > len(body) {
			t.Fatalf("%d bytes of data in a body of %d", total, len(body))
		}
		if rec.Kind == Events {
			checkReencodes(t, &rec, got)
		}
	})
}

// checkMemory checks that decoding allocates no more than a constant times what
// there is to decode. Only metadata that stands for all events may take more: each
// event has a copy of its own, since it is the caller's.
func checkMemory(t *testing.T, header map[string][]string, body []byte) {
	size, metadata := len(body), 0
	for name, values := range header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	for _, value := range header[HeaderMetadata] {
		metadata = max(metadata, len(value))
	}
	events := 0
	decode := func() {
		if rec, err := Decode(header, body); err == nil {
			events = rec.Events
			_ = rec.Chain()
			_, _ = rec.AppendEvents(nil, testCommon, 0, math.MaxUint64)
		}
	}
	// An event is some 250 bytes, of which a slice that grows has allocated up to
	// five times as much in the end, and takes 37 bytes of header at least.
	least := ^uint64(0)
	for range 3 { // others may allocate meanwhile
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		decode()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
		if least <= uint64(16<<10+64*size) {
			return
		}
	}
	if most := uint64(16<<10 + 64*size + 2*events*metadata); least > most {
		t.Fatalf("%d bytes allocated for %d events in a message of %d, want at most %d", least, events, size, most)
	}
}

// checkReencodes encodes what was decoded, if it is within the limits, and checks
// that it decodes to the same again.
func checkReencodes(t *testing.T, rec *Record, got []backend.RecordedEvent) {
	events := make([]backend.UnsavedEvent, len(got))
	for i, e := range got {
		events[i] = backend.UnsavedEvent{EventUUID: e.EventUUID, CausationID: e.CausationID, CorrelationID: e.CorrelationID,
			EventType: e.EventType, Data: e.Data, Metadata: e.Metadata, CreatedAt: e.CreatedAt}
	}
	before := rec.State
	before.Version -= uint64(rec.Events)
	messages, err := EncodeEvents(events, before, false, rec.Chain(), Limits{MaxMessageBytes: math.MaxInt, MaxMessages: 1})
	if err != nil {
		return // larger than messages can be
	}
	again, err := Decode(messages[0].Header, messages[0].Body)
	if err != nil {
		t.Fatalf("encoded again: %v\n%s", err, natsHeader(messages[0].Header))
	}
	if again.State != rec.State || !slices.Equal(again.Chain(), rec.Chain()) {
		t.Fatalf("encoded again: %+v, was %+v", again, rec)
	}
	if twice, err := again.AppendEvents(nil, testCommon, 0, math.MaxUint64); err != nil || !reflect.DeepEqual(twice, got) {
		t.Fatalf("encoded again: %+v, %v, was %+v", twice, err, got)
	}
}

// parseHeader reads lines of names and values; what is no such line is left out.
func parseHeader(text string) map[string][]string {
	header := make(map[string][]string)
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			header[name] = append(header[name], textproto.TrimString(value))
		}
	}
	return header
}

// nastyHeaders are those of messages that claim to be much: as many events,
// parts, links and bytes as headers of 64 KiB can tell of.
func nastyHeaders() []string {
	const stream = "Trib-Stream: 1 2026-03-01T08:00:00Z\n"
	ids := make([]string, 800)
	for i := range ids {
		ids[i] = nthID(byte(i + 1)).String()
	}
	many := "Trib-Commit: 1 events\nTrib-Version: 800\n" + stream + "Trib-Id: " + strings.Join(ids, ",") + "\nTrib-Type: T\nTrib-Created: 2026-03-01T09:30:00Z\n"
	one := "Trib-Commit: 1 events\nTrib-Version: 18446744073709551614\n" + stream + "Trib-Id: " + ids[0] + "\nTrib-Type: T\nTrib-Created: 2026-03-01T09:30:00Z\n"
	return []string{
		many + "Trib-Size: " + strings.Repeat("0,", 799) + "0\nTrib-Metadata: " + strings.Repeat("m", 32<<10),
		many + "Trib-Size: " + strings.Repeat("4294967295,", 799) + "4294967295",
		one + "Trib-Size: 4294967295",
		one + "Trib-Size: 18446744073709551615",
		one + "Trib-Part: 1000/1000 18446744073709551613",
		one + "Trib-Part: 1/4294967296 new",
		one + "Trib-First: 18446744073709551615",
		one + "Trib-Chain: " + strings.Repeat("18446744073709551615:4294967295:1000 ", 1500),
		one + "Trib-Chain: " + strings.Repeat(":", 60<<10),
		one + "Trib-Metadata: " + strings.Repeat("%00", 20<<10),
		one + "Trib-Metadata: " + strings.Repeat("%", 60<<10),
		"Trib-Commit: 1 events\nTrib-Version: 99999\n" + stream + "Trib-Id: " + strings.Repeat(",", 60<<10),
		strings.Repeat("Trib-Id: x\n", 5000) + "Trib-Commit: 1 events",
	}
}
