package tributary_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary"
)

// legal has names and what follows the prefix and its dot in their subjects.
var legal = []struct{ name, escaped string }{
	{"account-42", "account-42"},
	{"6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
	{"orders.eu.2026", "orders.eu.2026"},
	{"events.account-42", "events.account-42"},
	{"a/b:c;d,e=f&g#h?i", "a/b:c;d,e=f&g#h?i"},
	{`"a"\'b'`, `"a"\'b'`},
	{"_INBOX.x", "_INBOX.x"},
	{"a$", "a$"},
	{"a.$SYS", "a.$SYS"},
	{"a..b", "a.%.b"},
	{"a...b", "a.%.%.b"},
	{".a", "%.a"},
	{"a.", "a.%"},
	{".", "%.%"},
	{"..", "%.%.%"},
	{"*", "%2A"},
	{">", "%3E"},
	{"*.>", "%2A.%3E"},
	{"a*b", "a%2Ab"},
	{"*a", "%2Aa"},
	{">a", "%3Ea"},
	{"a.>", "a.%3E"},
	{"100%", "100%25"},
	{"%", "%25"},
	{"%.%", "%25.%25"},
	{"%25", "%2525"},
	{"%2A", "%252A"},
	{"%2a", "%252a"},
	{"%2", "%252"},
	{"%252A", "%25252A"},
	{"a%", "a%25"},
	{"ünïcode", "ünïcode"},
	{"u\u0308", "u\u0308"},
	{"\u00fc", "\u00fc"},
	{"заказ.東京", "заказ.東京"},
	{"🏦.👩‍👩‍👧", "🏦.👩‍👩‍👧"},
	{"\u00a0a\u3000", "\u00a0a\u3000"}, // blanks to Unicode: nobody may trim them
	{"\u2028a\u2029", "\u2028a\u2029"},
	{"\ufeffa\ufeff", "\ufeffa\ufeff"},
	// Valid UTF-8, but nats-server 2.15.2 takes it for damage: when it starts, it
	// discards the JetStream stream's index and reads all the messages instead.
	{"\ufffd", "%EF%BF%BD"},
	{"a%EF\ufffd", "a%25EF%EF%BF%BD"},
	{"%EF%BF%BD", "%25EF%25BF%25BD"},
	{"\U0010ffff", "\U0010ffff"},
	{strings.Repeat("a", 255), strings.Repeat("a", 255)},
	{strings.Repeat("%", 255), strings.Repeat("%25", 255)},
	{strings.Repeat("*", 255), strings.Repeat("%2A", 255)},
	{strings.Repeat(".", 255), strings.Repeat("%.", 255) + "%"},
	{strings.Repeat("a.", 127) + "a", strings.Repeat("a.", 127) + "a"},
	{strings.Repeat("東", 85), strings.Repeat("東", 85)},
	{strings.Repeat("🏦", 63) + "abc", strings.Repeat("🏦", 63) + "abc"},
}

// illegal has texts that aren't names, and what the error has to say.
var illegal = []struct{ text, reason string }{
	{"", "it is empty"},
	{"$", "reserved"},
	{"$SYS", "reserved"},
	{"$JS.API.INFO", "reserved"},
	{" ", "space at byte 0"},
	{"a b", "space at byte 1"},
	{"a ", "space at byte 1"},
	{"a\tb", "control character U+0009 at byte 1"},
	{"ab\n", "control character U+000A at byte 2"},
	{"a\vb", "control character U+000B at byte 1"},
	{"a\fb", "control character U+000C at byte 1"},
	{"a\r\nb", "control character U+000D at byte 1"},
	{"\x00", "control character U+0000 at byte 0"},
	{"ü\x1b", "control character U+001B at byte 2"},
	{"\x1f", "control character U+001F at byte 0"},
	{"a\x7f", "control character U+007F at byte 1"},
	{"\u0080", "control character U+0080 at byte 0"},
	{"\u0085", "control character U+0085 at byte 0"},
	{"\u009f", "control character U+009F at byte 0"},
	{"\xff", "invalid UTF-8 at byte 0"},
	{"a\x85", "invalid UTF-8 at byte 1"},
	{"\ufffd\xff", "invalid UTF-8 at byte 3"},
	{"a\xe2\x82", "invalid UTF-8 at byte 1"},
	{"\xc0\xae", "invalid UTF-8 at byte 0"},     // an overlong dot
	{"\xed\xa0\x80", "invalid UTF-8 at byte 0"}, // a surrogate
	{strings.Repeat("a", 256), "256 bytes are more than 255"},
	{strings.Repeat("東", 85) + "a", "256 bytes are more than 255"},
}

// prefixes are legal ones of several kinds, the longest among them.
var prefixes = []string{"", "events", "acme.events-2_A", "e", strings.Repeat("p.", 63) + "pp"}

// effective is the text that subjects with that prefix begin with.
func effective(prefix string) string {
	if prefix == "" {
		return "events"
	}
	return prefix
}

func short(name string) string { return fmt.Sprintf("%.20q", name) }

func TestSubjectOfEveryLegalNameAndBack(t *testing.T) {
	for _, prefix := range prefixes {
		s := tributary.Subjects{Prefix: prefix}
		for _, tt := range legal {
			t.Run(short(prefix)+" "+short(tt.name), func(t *testing.T) {
				if err := tributary.CheckStreamUUID(tt.name); err != nil {
					t.Fatalf("CheckStreamUUID: %v", err)
				}
				subject, err := s.Subject(tt.name)
				if want := effective(prefix) + "." + tt.escaped; err != nil || subject != want {
					t.Fatalf("Subject = %q, %v; want %q", subject, err, want)
				}
				name, err := s.StreamUUID(subject)
				if err != nil || name != tt.name {
					t.Fatalf("StreamUUID = %q, %v; want %q", name, err, tt.name)
				}
			})
		}
	}
}

func TestIllegalNamesAreRefusedWithTheReason(t *testing.T) {
	var s tributary.Subjects
	for _, tt := range illegal {
		t.Run(short(tt.text), func(t *testing.T) {
			err := tributary.CheckStreamUUID(tt.text)
			if !errors.Is(err, tributary.ErrInvalidStreamUUID) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("CheckStreamUUID: %v; want %q", err, tt.reason)
			}
			if subject, err := s.Subject(tt.text); subject != "" || !errors.Is(err, tributary.ErrInvalidStreamUUID) {
				t.Errorf("Subject = %q, %v; want ErrInvalidStreamUUID", subject, err)
			}
			if name, err := s.StreamUUID("events." + tt.text); name != "" || !errors.Is(err, tributary.ErrForeignSubject) {
				t.Errorf("StreamUUID = %q, %v; want ErrForeignSubject", name, err)
			}
			if tt.text == "" {
				return // Under's way to say All
			}
			if wildcard, err := s.Under(tt.text); wildcard != "" || !errors.Is(err, tributary.ErrInvalidStreamUUID) {
				t.Errorf("Under = %q, %v; want ErrInvalidStreamUUID", wildcard, err)
			}
		})
	}
}

func TestAnErrorQuotesLittleOfALongTextAndNothingRaw(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("a", 1<<20),
		strings.Repeat("東", 80) + "\x00",
		strings.Repeat("\xff", 255),
		"a\r\nb",
	} {
		got := tributary.CheckStreamUUID(text).Error()
		if len(got) > 256 || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\r\n") {
			t.Errorf("%d bytes: %.300q", len(got), got)
		}
	}
	// A text that is cut says so; one that just fits is whole.
	cut := tributary.CheckStreamUUID(strings.Repeat("ü", 32) + " ").Error()
	whole := tributary.CheckStreamUUID(strings.Repeat("ü", 31) + " ").Error()
	if !strings.HasSuffix(cut, `ü"...`) || !strings.HasSuffix(whole, `ü "`) {
		t.Errorf("got\n%s\n%s", cut, whole)
	}
}

func TestForeignSubjectsHaveNoName(t *testing.T) {
	s := tributary.Subjects{Prefix: "acme.events"}
	for _, rest := range []string{
		"%", "%.", ".%", "a..b", ".a", "a.", "*", ">", "a*b", "a.>", "*.a",
		"%2a", "%3e", "%41", "%2E", "%20", "%00", "%zz", "%2", "a%", "%%", "%.%%", "%25%", "%2%2A",
		"%24SYS", "$SYS", strings.Repeat("%25", 256), strings.Repeat("%.", 256) + "%",
	} {
		name, err := s.StreamUUID("acme.events." + rest)
		if name != "" || !errors.Is(err, tributary.ErrForeignSubject) || errors.Is(err, tributary.ErrInvalidStreamUUID) {
			t.Errorf("%s: %q, %v; want ErrForeignSubject", short(rest), name, err)
		}
	}
	for _, subject := range []string{
		"", ".", "acme", "acme.events", "acme.events.", "acme.eventsa", "acme.events-a.b", "acme.event.a",
		"Acme.events.a", ".acme.events.a", "events.a", "acme.>", "acme.*.a", "$JS.API.INFO", "\xff", "\x00",
	} {
		if name, err := s.StreamUUID(subject); name != "" || !errors.Is(err, tributary.ErrForeignSubject) {
			t.Errorf("%q: %q, %v; want ErrForeignSubject", subject, name, err)
		}
	}
}

// TestAllSmallNames tries every text of up to five of the characters that the
// mapping treats in a special way, or that could be taken for an escape's digits,
// both as a name and as a subject.
func TestAllSmallNames(t *testing.T) {
	texts := []string{""}
	for longest := texts; len(longest[0]) < 5; {
		var longer []string
		for _, text := range longest {
			for _, c := range ".%*>25A" {
				longer = append(longer, text+string(c))
			}
		}
		texts = append(texts, longer...)
		longest = longer
	}

	var s tributary.Subjects
	nameOf := make(map[string]string, len(texts))
	for _, name := range texts[1:] {
		subject, err := s.Subject(name)
		if err != nil {
			t.Fatalf("Subject(%q): %v", name, err)
		}
		if other, taken := nameOf[subject]; taken {
			t.Fatalf("%q and %q share the subject %q", name, other, subject)
		}
		if !server.IsValidPublishSubject(subject) || strings.ContainsAny(subject, "*>") {
			t.Fatalf("%q has the subject %q", name, subject)
		}
		nameOf[subject] = name
	}
	for subject, want := range nameOf {
		if name, err := s.StreamUUID(subject); err != nil || name != want {
			t.Fatalf("StreamUUID(%q) = %q, %v; want %q", subject, name, err, want)
		}
	}
	for _, text := range texts { // no escape is shorter than its name, so nameOf has all of these that are one
		want, ok := nameOf["events."+text]
		name, err := s.StreamUUID("events." + text)
		if name != want || ok != (err == nil) {
			t.Fatalf("StreamUUID(%q) = %q, %v; want %q", "events."+text, name, err, want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	for _, prefix := range prefixes {
		s := tributary.Subjects{Prefix: prefix}
		if err := s.Validate(); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
		if got, want := s.All(), effective(prefix)+".>"; got != want || !server.IsValidSubject(got) {
			t.Errorf("All = %q, want %q", got, want)
		}
	}
	for _, tt := range []struct{ prefix, reason string }{
		{".", "dot at byte 0"},
		{".a", "dot at byte 0"},
		{"a.", "dot at byte 1"},
		{"a..b", "dot at byte 2"},
		{"$SYS", "at byte 0"},
		{"a.$b", "at byte 2"},
		{"*", "at byte 0"},
		{"a.>", "at byte 2"},
		{"100%", "at byte 3"},
		{"a b", "at byte 1"},
		{"a\x00", "at byte 1"},
		{"für", "at byte 1"},
		{"\xff", "at byte 0"},
		{strings.Repeat("a", 129), "129 bytes are more than 128"},
	} {
		s := tributary.Subjects{Prefix: tt.prefix}
		err := s.Validate()
		if !errors.Is(err, tributary.ErrInvalidPrefix) || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%q: %v; want %q", tt.prefix, err, tt.reason)
		}
		_, err1 := s.Subject("a")
		_, err2 := s.StreamUUID(tt.prefix + ".a")
		_, err3 := s.Under("a")
		_, err4 := s.Under("")
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, tributary.ErrInvalidPrefix) {
				t.Errorf("%q: %v; want ErrInvalidPrefix", tt.prefix, err)
			}
		}
	}
}

func TestUnder(t *testing.T) {
	for _, tt := range []struct{ under, want string }{
		{"", "events.>"},
		{"orders", "events.orders.>"},
		{"orders.eu", "events.orders.eu.>"},
		{"orders.", "events.orders.%.>"},
		{".", "events.%.%.>"},
		{"*", "events.%2A.>"},
		{">", "events.%3E.>"},
	} {
		got, err := tributary.Subjects{}.Under(tt.under)
		if err != nil || got != tt.want {
			t.Errorf("Under(%q) = %q, %v; want %q", tt.under, got, err, tt.want)
		}
		for _, name := range legal {
			checkUnder(t, tt.under, name.name)
		}
		for _, name := range []string{"orders.eu.1", "orders.eu.de.7", "orders.eu", "orders.europe", "orders..1", "orders", "*.a", ">.a", "...a"} {
			checkUnder(t, tt.under, name)
		}
	}
}

// checkUnder fails unless the server lets Under(prefix) match the name's subject
// just when the name begins with the prefix and a dot. Both must be legal.
func checkUnder(t *testing.T, prefix, name string) {
	t.Helper()
	var s tributary.Subjects
	wildcard, err := s.Under(prefix)
	if err != nil || !server.IsValidSubject(wildcard) {
		t.Fatalf("Under(%q) = %q, %v", prefix, wildcard, err)
	}
	subject, err := s.Subject(name)
	if err != nil {
		t.Fatal(err)
	}
	want := prefix == "" || strings.HasPrefix(name, prefix+".")
	if got := server.SubjectMatchesFilter(subject, wildcard); got != want {
		t.Errorf("%q matches %q: %t, want %t", subject, wildcard, got, want)
	}
	if got := server.SubjectsCollide(subject, wildcard); got != want {
		t.Errorf("%q collides with %q: %t, want %t", subject, wildcard, got, want)
	}
}

func TestASubjectStaysUnderOneKiB(t *testing.T) {
	s := tributary.Subjects{Prefix: strings.Repeat("p", 128)}
	longest := strings.Repeat(">", tributary.MaxStreamUUIDBytes)
	subject, err := s.Subject(longest)
	if err != nil || len(subject) != 128+1+3*255 {
		t.Fatalf("%d bytes, %v", len(subject), err)
	}
	wildcard, err := s.Under(longest)
	if err != nil || len(wildcard) >= 1024 {
		t.Fatalf("%d bytes, %v", len(wildcard), err)
	}
}

func TestOrdinaryNamesCostOneAllocation(t *testing.T) {
	s := tributary.Subjects{Prefix: "acme.events"}
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Subject("orders.eu.account-42-which-is-a-long-name") }); n > 1 {
		t.Errorf("Subject: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = s.StreamUUID("acme.events.orders.eu.account-42") }); n > 0 {
		t.Errorf("StreamUUID: %v allocations", n)
	}
}

// The server is started a second time because it then rebuilds, from its files,
// what it knows of the subjects.
func TestEveryLegalNameIsStoredAndReadBackAlsoAfterARestart(t *testing.T) {
	var s tributary.Subjects
	dir := t.TempDir()

	t.Run("first start", func(t *testing.T) {
		js := startJetStream(t, dir)
		stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: "EVENTS", Subjects: []string{"events.>"}, AllowDirect: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range legal {
			subject, err := s.Subject(tt.name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), subject, []byte(tt.name)); err != nil {
				t.Fatalf("%s: %v", short(tt.name), err)
			}
		}
		checkStored(t, stream)
	})
	t.Run("second start", func(t *testing.T) {
		stream, err := startJetStream(t, dir).Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		checkStored(t, stream)
	})
}

// startJetStream starts a server on the directory that ends with the test.
func startJetStream(t *testing.T, dir string) jetstream.JetStream {
	t.Helper()
	ns, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server did not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// checkStored fails unless the stream has one message for every legal name, that
// a direct get and a consumer both find by its subject.
func checkStored(t *testing.T, stream jetstream.Stream) {
	t.Helper()
	var s tributary.Subjects
	info, err := stream.Info(t.Context())
	if err != nil || info.State.NumSubjects != uint64(len(legal)) || info.State.Msgs != uint64(len(legal)) {
		t.Fatalf("%+v, %v; want %d messages on as many subjects", info, err, len(legal))
	}
	for _, tt := range legal {
		subject, err := s.Subject(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		check := func(how, got string, data []byte) {
			name, err := s.StreamUUID(got)
			if got != subject || name != tt.name || string(data) != tt.name || err != nil {
				t.Errorf("%s by %s: subject %q with %q, name %q, %v", short(tt.name), how, got, data, name, err)
			}
		}
		stored, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatalf("%s: %v", short(tt.name), err)
		}
		check("direct get", stored.Subject, stored.Data)

		consumer, err := stream.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{
			FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
		})
		if err != nil {
			t.Fatalf("%s: %v", short(tt.name), err)
		}
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatalf("%s: %v", short(tt.name), err)
		}
		check("consumer", msg.Subject(), msg.Data())
		if pending := consumer.CachedInfo().NumPending; pending != 1 {
			t.Errorf("%s: %d messages match the filter", short(tt.name), pending)
		}
	}
}

func BenchmarkSubjects(b *testing.B) {
	s := tributary.Subjects{Prefix: "acme.events"}
	for _, bm := range []struct{ kind, name string }{
		{"ordinary", "orders.eu.6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
		{"escaped", "orders..100%.6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
	} {
		b.Run("Subject/"+bm.kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Subject(bm.name); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("StreamUUID/"+bm.kind, func(b *testing.B) {
			subject, err := s.Subject(bm.name)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.StreamUUID(subject); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
