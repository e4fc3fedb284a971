// A forwarder as one writes it in Go: net/http takes batches of events, encoding/json reads them,
// and franz-go brings them to Kafka as Avro, in the layout of schemas/event.avsc. It answers when
// the broker has each of them. Its producer has the settings of ours.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	maxBody   = 10 << 20
	maxEvents = 10_000
	maxChars  = 200
	maxQueued = 400_000
)

type event struct {
	Event       string          `json:"event"`
	DistinctID  string          `json:"distinct_id"`
	EventID     string          `json:"event_id"`
	AnonymousID *string         `json:"anonymous_id"`
	SessionID   *string         `json:"session_id"`
	Timestamp   *time.Time      `json:"timestamp"`
	Properties  json.RawMessage `json:"properties"`
	Context     json.RawMessage `json:"context"`
}

type batch struct {
	Events []event    `json:"events"`
	SentAt *time.Time `json:"sent_at"`
}

type result struct {
	EventID string `json:"event_id"`
	Result  string `json:"result"`
	Details string `json:"details,omitempty"`
}

type service struct {
	client        *kgo.Client
	topic         string
	project       string
	authorization []byte
}

func (s *service) track(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), s.authorization) != 1 {
		http.Error(w, "a write key is required", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var given batch
	if err := json.Unmarshal(body, &given); err != nil || len(given.Events) > maxEvents {
		http.Error(w, "the body is not a batch of events", http.StatusBadRequest)
		return
	}
	answer, err := json.Marshal(map[string][]result{"results": s.take(&given)})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer) // a client that has left needs none
}

func (s *service) take(given *batch) []result {
	received := time.Now()
	results := make([]result, len(given.Events))
	var unacknowledged sync.WaitGroup
	for i := range given.Events {
		e, r := &given.Events[i], &results[i]
		*r = result{EventID: e.EventID, Result: "ok"}
		if err := check(e); err != nil {
			r.Result, r.Details = "drop", err.Error()
			continue
		}
		unacknowledged.Add(1)
		record := &kgo.Record{
			Topic: s.topic,
			Key:   []byte(s.project + ":" + e.DistinctID),
			Value: encode(s.project, e, given.SentAt, received),
		}
		s.client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
			if err != nil {
				r.Result, r.Details = "retry", err.Error()
			}
			unacknowledged.Done()
		})
	}
	unacknowledged.Wait()
	return results
}

func check(e *event) error {
	for _, text := range []string{e.Event, e.DistinctID} {
		if text == "" || utf8.RuneCountInString(text) > maxChars {
			return errors.New("event and distinct_id have 1 to 200 characters")
		}
	}
	if !isUUID(e.EventID) {
		return errors.New("event_id is not a UUID")
	}
	if e.Timestamp == nil {
		return errors.New("timestamp is missing")
	}
	for _, object := range []json.RawMessage{e.Properties, e.Context} {
		if len(object) > 0 && object[0] != '{' {
			return errors.New("properties and context are objects")
		}
	}
	return nil
}

func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

func encode(project string, e *event, sentAt *time.Time, received time.Time) []byte {
	size := 128 + len(project) + len(e.EventID) + len(e.DistinctID) + len(e.Event)
	out := make([]byte, 0, size+len(e.Properties)+len(e.Context))
	out = append(out, 0, 0, 0, 0, 1) // Confluent's wire format, schema 1
	out = text(out, e.EventID)
	out = text(out, project)
	out = text(out, e.DistinctID)
	out = text(out, "") // person_id
	out = optionalText(out, e.AnonymousID)
	out = optionalText(out, e.SessionID)
	out = text(out, e.Event)
	out = binary.AppendVarint(out, e.Timestamp.UnixMilli())
	out = optionalTime(out, sentAt)
	out = optionalTime(out, &received)
	out = object(out, e.Properties)
	return object(out, e.Context)
}

func text(out []byte, value string) []byte {
	return append(binary.AppendVarint(out, int64(len(value))), value...)
}

func optionalText(out []byte, value *string) []byte {
	if value == nil {
		return append(out, 0)
	}
	return text(append(out, 2), *value)
}

func optionalTime(out []byte, value *time.Time) []byte {
	if value == nil {
		return append(out, 0)
	}
	return binary.AppendVarint(append(out, 2), value.UnixMilli())
}

func object(out []byte, value json.RawMessage) []byte {
	if len(value) == 0 {
		return text(out, "{}")
	}
	return append(binary.AppendVarint(out, int64(len(value))), value...)
}

func main() {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("RIVAL_BOOTSTRAP")),
		kgo.RequiredAcks(kgo.AllISRAcks()), // and idempotent, as is its default
		kgo.ProducerLinger(time.Millisecond),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.MaxBufferedRecords(maxQueued),
	)
	if err != nil {
		log.Fatal(err)
	}
	s := &service{
		client:        client,
		topic:         os.Getenv("RIVAL_TOPIC"),
		project:       os.Getenv("RIVAL_PROJECT"),
		authorization: []byte("Bearer " + os.Getenv("RIVAL_KEY")),
	}
	http.HandleFunc("POST /v1/events", s.track)
	http.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ready\n")
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("RIVAL_PORT"), nil))
}
