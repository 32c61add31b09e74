package wire

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What a decoder keeps of one message must not show in another.
func TestADecoderDecodesEachMessageAsIfItWereTheOnlyOne(t *testing.T) {
	streams := rapid.SampledFrom([][]string{
		{"7 2026-03-01T08:00:00Z"}, {"8 2026-03-01T08:00:00Z"}, {"7 2026-03-01T08:00:01Z"}, {"7"}, {"0 2026-03-01T08:00:00Z"}, {"7 now"}, {""}, {}, {"7 2026-03-01T08:00:00Z", ""}, nil,
	})
	rapid.Check(t, func(t *rapid.T) {
		var d Decoder
		for _, stream := range rapid.SliceOfN(streams, 1, 20).Draw(t, "streams") {
			header := threeEvents(map[string][]string{HeaderStream: stream})
			if stream == nil {
				header = map[string][]string{}
			}
			got, err := d.Decode(header, []byte("a\n\nbc"))
			want, wantErr := Decode(header, []byte("a\n\nbc"))
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: %+v, %v, want %+v, %v", stream, got, err, want, wantErr)
			}
		}
	})
}

func TestAnEventsMetadataIsItsAlone(t *testing.T) {
	long := strings.Repeat("m", spareBytes-10)
	for name, column := range map[string]string{
		"one for all":        "%41bc",
		"each its own":       "a%2Cb,,c",
		"some long":          long + "," + long + "%0A,x",
		"a long one for all": long + long,
	} {
		t.Run(name, func(t *testing.T) {
			header := threeEvents(map[string][]string{HeaderMetadata: {column}})
			untouched := maps.Clone(header)
			got, err := decodeAll(header, "a\n\nbc")
			if err != nil || len(got) != 3 {
				t.Fatal(got, err)
			}
			var want [3][]byte
			for i := range got {
				want[i] = slices.Clone(got[i].Metadata)
			}
			for i := range got {
				for k := range got[i].Metadata {
					got[i].Metadata[k] = '!'
				}
				got[i].Metadata = append(got[i].Metadata, "!!!!"...)
				for k := range got {
					if k > i && !bytes.Equal(got[k].Metadata, want[k]) {
						t.Errorf("changing the metadata of event %d changed that of event %d", i, k)
					}
				}
			}
			again, err := decodeAll(header, "a\n\nbc")
			if err != nil || !reflect.DeepEqual(header, untouched) {
				t.Fatal(header, err)
			}
			for i := range again {
				if !bytes.Equal(again[i].Metadata, want[i]) {
					t.Errorf("event %d: metadata %.20q, was %.20q", i, again[i].Metadata, want[i])
				}
			}
		})
	}
}
