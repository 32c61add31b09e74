package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// The types of events. A rename is an event of two event streams: it ends that
// of the old path with FileRenamedTo and goes on in that of the new one with
// FileRenamedFrom. Both have the same commit.
const (
	fileCreated     = "FileCreated"
	fileChanged     = "FileChanged"
	fileRenamedFrom = "FileRenamedFrom"
	fileRenamedTo   = "FileRenamedTo"
	fileDeleted     = "FileDeleted"
)

// changeData is an event's data.
type changeData struct {
	Path    filePath `json:"path"`             // the path whose event it is
	From    filePath `json:"from,omitzero"`    // FileRenamedFrom: the old path
	To      filePath `json:"to,omitzero"`      // FileRenamedTo: the new path
	Mode    string   `json:"mode,omitempty"`   // as git has it: 100644, 100755, 120000 (link), 160000 (submodule)
	Added   int      `json:"added"`            // lines
	Removed int      `json:"removed"`          // lines
	Binary  bool     `json:"binary,omitempty"` // no lines are counted
}

// changeMetadata is an event's metadata: who, when and why.
type changeMetadata struct {
	Commit  string    `json:"commit"`
	Author  string    `json:"author"`
	Email   string    `json:"email"`
	Time    time.Time `json:"time"` // the author's; also the event's CreatedAt
	Subject string    `json:"subject"`
}

// filePath is a path in a repository. In JSON it is a string where it is text,
// as nearly always, and else {"base64": "..."}.
type filePath string

type base64Path struct {
	Bytes []byte `json:"base64"`
}

func (p filePath) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(p)) {
		return json.Marshal(string(p))
	}
	return json.Marshal(base64Path{[]byte(p)})
}

func (p *filePath) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		var b base64Path
		err := json.Unmarshal(text, &b)
		*p = filePath(b.Bytes)
		return err
	}
	return json.Unmarshal(text, (*string)(p))
}

// change is what one commit did to one path: an event, and where it belongs.
type change struct {
	stream string // the name of the path's event stream
	event  backend.UnsavedEvent
}

// changes are the events of a commit, at most one for each path.
//
// That makes commit and path the identity of an event. What kind of event it is
// takes no part in it: whether two paths are seen as a rename or as one deleted
// and one created depends on git's version, but these are the same two paths.
func (r *repository) changes(c commit) ([]change, error) {
	metadata, err := marshal(changeMetadata{
		Commit:  c.hash,
		Author:  clip(c.author),
		Email:   clip(c.email),
		Time:    c.time,
		Subject: clip(c.subject),
	})
	if err != nil {
		return nil, err
	}
	correlation := uuid.NewSHA1(identities, []byte(r.root+"\x00"+c.hash))
	var all []change
	seen := make(map[filePath]bool, len(c.entries))
	add := func(eventType string, data changeData) error {
		if seen[data.Path] {
			return nil // only in a damaged tree; the first one counts
		}
		seen[data.Path] = true
		body, err := marshal(data)
		all = append(all, change{
			stream: streamName(r.key(), string(data.Path)),
			event: backend.UnsavedEvent{
				EventUUID:     uuid.NewSHA1(identities, []byte(r.root+"\x00"+c.hash+"\x00"+string(data.Path))),
				CorrelationID: correlation, // the whole commit's
				EventType:     eventType,
				Data:          body,
				Metadata:      metadata,
				CreatedAt:     c.time,
			},
		})
		return err
	}
	for _, e := range c.entries {
		data := changeData{Path: filePath(e.path), Mode: e.mode, Added: e.added, Removed: e.removed, Binary: e.binary}
		eventType := fileChanged
		switch e.status {
		case 'A', 'C':
			eventType = fileCreated
		case 'D':
			eventType, data.Mode = fileDeleted, ""
		case 'R':
			eventType, data.From = fileRenamedFrom, filePath(e.from)
			if err := add(fileRenamedTo, changeData{Path: data.From, To: data.Path}); err != nil {
				return nil, err
			}
		}
		if err := add(eventType, data); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// identities is the name space of this program's event ids: UUIDs of version 5,
// so the same change gets the same id in every run.
var identities = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/tributary-es/tributary/examples/githistory"))

// marshal is [json.Marshal] without the escapes for web pages, so that "a -> b"
// reads like that in any tool that shows messages.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// clip makes text of any length and bytes fit into metadata, which is short and
// has to be UTF-8.
func clip(text string) string {
	const most = 200 // characters
	text = strings.ToValidUTF8(text, "\uFFFD")
	if n := 0; len(text) > most {
		for i := range text {
			if n++; n > most {
				return text[:i] + "…"
			}
		}
	}
	return text
}

// recorded is an event as it was read back.
type recorded struct {
	changeData
	changeMetadata
	eventType string
	id        uuid.UUID
	commit    uuid.UUID // the correlation id
}

func decode(e backend.RecordedEvent) (recorded, error) {
	r := recorded{eventType: e.EventType, id: e.EventUUID, commit: e.CorrelationID}
	if err := json.Unmarshal(e.Data, &r.changeData); err != nil {
		return r, fmt.Errorf("event stream %q, version %d: data: %w", e.StreamUUID, e.StreamVersion, err)
	}
	if err := json.Unmarshal(e.Metadata, &r.changeMetadata); err != nil {
		return r, fmt.Errorf("event stream %q, version %d: metadata: %w", e.StreamUUID, e.StreamVersion, err)
	}
	return r, nil
}
