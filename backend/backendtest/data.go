package backendtest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

func dataClauses(t *testing.T, b backend.Backend) {
	for name, data := range someData() {
		t.Run("data comes back byte for byte: "+name, func(t *testing.T) {
			t.Parallel()
			wantRoundTrip(t, b, backend.UnsavedEvent{EventType: "Happened", Data: data})
		})
	}
	for name, text := range someTexts() {
		t.Run("an event type comes back byte for byte: "+name, func(t *testing.T) {
			t.Parallel()
			wantRoundTrip(t, b, backend.UnsavedEvent{EventType: text})
		})
		t.Run("metadata comes back byte for byte: "+name, func(t *testing.T) {
			t.Parallel()
			wantRoundTrip(t, b, backend.UnsavedEvent{EventType: "Happened", Metadata: []byte(text)})
		})
		t.Run("data comes back byte for byte: "+name, func(t *testing.T) {
			t.Parallel()
			wantRoundTrip(t, b, backend.UnsavedEvent{EventType: "Happened", Data: []byte(text)})
		})
	}
	t.Run("events of all kinds of texts and data stay apart when they are appended together", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		var given []backend.UnsavedEvent
		for _, text := range someTexts() {
			if len(text) > 1024 {
				continue
			}
			given = append(given, backend.UnsavedEvent{EventType: text, Data: []byte(text), Metadata: []byte(text)},
				backend.UnsavedEvent{EventType: text}, backend.UnsavedEvent{EventType: "Happened", Data: []byte(text)},
				backend.UnsavedEvent{EventType: "Happened", Metadata: []byte(text)})
		}
		for _, data := range someData() {
			if len(data) <= 1024 {
				given = append(given, backend.UnsavedEvent{EventType: "Happened", Data: data})
			}
		}
		res := s.mustAppend(backend.NoStream(), given)
		wantRecorded(t, s.wantHistory(1, res.Version), given)
	})
	t.Run("data and metadata of length zero are read back as nil", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.mustAppend(backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened"}})
		s.mustAppend(backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened", Data: []byte{}, Metadata: []byte{}}})
		s.mustAppend(backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened"}, {EventType: "Happened", Data: []byte{}, Metadata: []byte{}}, {EventType: "Happened", Data: []byte("x"), Metadata: []byte("y")}})
		for i, e := range s.wantHistory(1, 5) {
			if isNil := e.Data == nil && e.Metadata == nil; isNil == (i == 4) {
				t.Fatalf("event %d has the data %#v and the metadata %#v", i, e.Data, e.Metadata)
			}
		}
	})
	t.Run("an event has data of 900 KB", func(t *testing.T) {
		t.Parallel()
		data := make([]byte, 900_000)
		rand.NewChaCha8([32]byte{1}).Read(data)
		wantRoundTrip(t, b, backend.UnsavedEvent{EventType: "Happened", Data: data})
	})
	t.Run("an event has the longest type and the most metadata, of bytes that are hard to carry", func(t *testing.T) {
		t.Parallel()
		for _, hard := range []byte{0, '\n', '\r', ' ', '%', 0xff, '"', '\\', ','} {
			wantRoundTrip(t, b, backend.UnsavedEvent{
				EventType: strings.Repeat(string([]byte{hard}), backend.MaxEventTypeBytes),
				Data:      []byte("data"),
				Metadata:  bytes.Repeat([]byte{hard}, backend.MaxMetadataBytes),
			})
		}
	})
}

// wantRoundTrip checks that an event comes back as it was given, appended alone,
// and among others, at either end and in the middle.
func wantRoundTrip(t tester, b backend.Backend, e backend.UnsavedEvent) {
	t.Helper()
	s := fresh(t, b)
	other := backend.UnsavedEvent{EventType: "Other", Data: []byte("other"), Metadata: []byte("other")}
	given := []backend.UnsavedEvent{e}
	s.mustAppend(backend.NoStream(), given)
	together := []backend.UnsavedEvent{e, other, e, e, other, e}
	s.mustAppend(backend.ExactVersion(1), together)
	given = append(given, together...)
	wantRecorded(t, s.wantHistory(1, 7), given)
	for batch, err := range s.forward(7) {
		must(t, err)
		wantRecorded(t, batch, given)
	}
}

func someData() map[string][]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return map[string][]byte{
		"none":                 nil,
		"one byte":             {'x'},
		"one zero":             {0},
		"zeros":                make([]byte, 1000),
		"one newline":          {'\n'},
		"newlines":             bytes.Repeat([]byte{'\n'}, 1000),
		"CR LF":                bytes.Repeat([]byte("\r\n"), 100),
		"newlines at the ends": []byte("\n\nx\n\n"),
		"all bytes":            all,
		"all bytes, backward":  bytes.Repeat([]byte{0xff, 0xfe, 0xc0, 0x80, 0x7f}, 50),
		"JSON":                 []byte("{\"a\": [1, 2.5, null],\n \"b\": \"\\u0000\"}"),
		"a body of other data": []byte("4\n12\nNATS/1.0\r\n\r\n"),
		"1 KB":                 bytes.Repeat([]byte("0123456789abcdef"), 64),
	}
}

// someTexts are such as a header, or a list of values in one, can't carry as
// they are.
func someTexts() map[string]string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return map[string]string{
		"one letter":           "x",
		"non-ASCII":            "Überweisung ausgeführt – 送金 – 💸",
		"line breaks":          "a\nb\n\nc",
		"a line break only":    "\n",
		"CR LF":                "a\r\nb\r\n\r\nc",
		"CR only":              "\r",
		"tabs":                 "\ta\tb\t",
		"blanks at both ends":  "  a b  ",
		"one blank":            " ",
		"blanks":               "     ",
		"NUL":                  "a\x00b",
		"NUL only":             "\x00",
		"invalid UTF-8":        "a\xff\xfe\xc0\x80b",
		"control characters":   "\x01\x02\x1b[31m\x7f\u0085\u2028",
		"no-break spaces":      "\u00a0a\u00a0\ufeff",
		"commas":               ",a,,b,",
		"percent signs":        "%,%%,%2,%20,%0A,%zz,100%",
		"backslashes":          `\,\\,\n,\x00,\u0000`,
		"quotes":               `"a",'b',` + "`c`",
		"separators":           "a;b:c=d|e&f/g",
		"like headers":         "NATS/1.0\r\nNats-Rollup: all\r\n\r\n",
		"like one header":      "x\r\nNats-Expected-Last-Sequence: 1\r\nNats-Msg-Id: 1",
		"like a status":        "NATS/1.0 503\r\n\r\n",
		"a name of a header":   "Nats-Rollup: sub",
		"a dash, as for none":  "-",
		"like a number":        "0",
		"like base64":          "aGVsbG8=",
		"JSON":                 `{"user":"ünïcode\n","n":[1,2]}`,
		"all bytes":            string(all),
		"1 KB":                 strings.Repeat("0123456789abcdef", 64),
		"1 KB of line breaks":  strings.Repeat("\r\n", 512),
		"4 KiB of invalid":     strings.Repeat("\xff", 4096),
		"4 KiB of non-ASCII":   strings.Repeat("ü", 2048),
		"a wildcard":           "*.>",
		"two texts of headers": "a: b\r\nc: d",
	}
}
