// Prints what the CloudEvents SDK for Go would send to Kafka, one message a line, in JSON:
// {"name", "key", "headers", "value"}, where the value is in base64, or null.
package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

type message struct {
	Name    string      `json:"name"`
	Key     string      `json:"key"`
	Headers [][2]string `json:"headers"`
	Value   []byte      `json:"value"`
}

// The SDK's bindings to Kafka clients write messages in this way, each to its client's own type.
func (m *message) Start(context.Context) error { return nil }
func (m *message) End(context.Context) error   { return nil }

func (m *message) SetStructuredEvent(_ context.Context, f format.Format, data io.Reader) error {
	m.header("content-type", f.MediaType())
	return m.SetData(data)
}

func (m *message) SetAttribute(attribute spec.Attribute, value interface{}) error {
	if attribute.Kind() == spec.DataContentType {
		m.header("content-type", value.(string))
		return nil
	}
	return m.add(attribute.Name(), value)
}

func (m *message) SetExtension(name string, value interface{}) error { return m.add(name, value) }

func (m *message) SetData(data io.Reader) (err error) {
	m.Value, err = io.ReadAll(data)
	return err
}

func (m *message) add(name string, value interface{}) error {
	if value == nil {
		return nil
	}
	text, err := types.Format(value)
	m.header("ce_"+name, text)
	return err
}

func (m *message) header(name, value string) { m.Headers = append(m.Headers, [2]string{name, value}) }

func signup(name string) event.Event {
	e := event.New()
	e.SetID(name)
	e.SetType("signup")
	e.SetSource("/web")
	e.SetSubject("ada")
	e.SetTime(time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC))
	e.SetExtension("partitionkey", "default:ada")
	return e
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pro := map[string]interface{}{"plan": "pro"}
	kinds := map[string]func(*event.Event) error{
		"object":  func(e *event.Event) error { return e.SetData(event.ApplicationJSON, pro) },
		"bytes":   func(e *event.Event) error { return e.SetData(event.ApplicationJSON, []byte(`{"plan":"pro"}`)) },
		"base64":  func(e *event.Event) error { return e.SetData("application/octet-stream", []byte(`{"plan":"pro"}`)) },
		"vendor":  func(e *event.Event) error { return e.SetData("application/vnd.shop+json", []byte(`{"plan":"pro"}`)) },
		"nothing": func(*event.Event) error { return nil },
		"null":    func(e *event.Event) error { return e.SetData(event.ApplicationJSON, []byte("null")) },
	}
	out := json.NewEncoder(os.Stdout)
	for name, fill := range kinds {
		for _, mode := range []string{"binary", "structured"} {
			e := signup(name + " " + mode)
			check(fill(&e))
			m := &message{Name: name, Key: "default:ada"}
			force := binding.WithForceStructured
			if mode == "binary" {
				force = binding.WithForceBinary
			}
			_, err := binding.Write(force(context.Background()), binding.ToMessage(&e), m, m)
			check(err)
			check(out.Encode(m))
		}
	}
}
