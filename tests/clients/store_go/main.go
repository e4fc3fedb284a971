// Use a store through clickhouse-go over HTTP, with and without compression and database/sql.
//
// Prints what was read as one JSON object a method of compression.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const rowCount = 1000

type report struct {
	Method   string
	Rows     int
	Last     []any
	Zone     string
	JSON     string
	External string
	SQL      uint64
	Errors   []int32
}

func must(err error) {
	if err != nil {
		log.Panic(err)
	}
}

func main() {
	address, password := os.Args[1], os.Args[2]
	methods := []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
		clickhouse.CompressionGZIP, clickhouse.CompressionBrotli,
	}
	for number, method := range methods {
		table := fmt.Sprintf("go_%d", number)
		options := &clickhouse.Options{
			Addr:        []string{address},
			Protocol:    clickhouse.HTTP,
			Auth:        clickhouse.Auth{Database: "default", Username: "default", Password: password},
			Compression: &clickhouse.Compression{Method: method, Level: 3},
		}
		connection, err := clickhouse.Open(options)
		must(err)
		found := report{Method: method.String()}
		fill(connection, table)
		read(connection, table, &found)
		readJSON(connection, table, &found)
		readExternal(connection, &found)
		found.SQL = throughSQL(clickhouse.OpenDB(options), table)
		found.Errors = []int32{
			code(connection, "SELECT nothing"),
			code(connection, "SELECT sumState(number) FROM numbers(9)"),
			code(connection, "SELECT throwIf(number = 900000), rand64() FROM numbers(1000000)"),
		}
		must(connection.Close())
		must(json.NewEncoder(os.Stdout).Encode(found))
	}
}

func fill(connection driver.Conn, table string) {
	ctx := context.Background()
	must(connection.Ping(ctx))
	must(connection.Exec(ctx, "CREATE TABLE "+table+` (
		id UInt64, kind LowCardinality(String), note Nullable(String), at DateTime('Asia/Tokyo'),
		tags Array(String), properties JSON
	) ENGINE = MergeTree ORDER BY id`))
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+table)
	must(err)
	for id := range uint64(rowCount) {
		note := "v;"
		must(batch.Append(
			id, fmt.Sprint("kind ", id%3), &note, time.Unix(1_700_000_000, 0), []string{"a", "b"},
			`{"page": "/x"}`,
		))
	}
	must(batch.Send())
}

func read(connection driver.Conn, table string, found *report) {
	rows, err := connection.Query(
		context.Background(),
		"SELECT id, kind, note, at, tags FROM "+table+" WHERE id >= {first:UInt64} ORDER BY id",
		clickhouse.Named("first", "10"),
	)
	must(err)
	var id uint64
	var kind string
	var note *string
	var at time.Time
	var tags []string
	for rows.Next() {
		must(rows.Scan(&id, &kind, &note, &at, &tags))
		found.Rows++
	}
	must(rows.Err())
	must(rows.Close())
	found.Last = []any{id, kind, *note, at.Unix(), tags}
	found.Zone = at.Location().String()
}

func readJSON(connection driver.Conn, table string, found *report) {
	ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{
		"output_format_native_write_json_as_string": "1",
	}))
	query := "SELECT properties FROM " + table + " LIMIT 1"
	must(connection.QueryRow(ctx, query).Scan(&found.JSON))
	var properties clickhouse.JSON
	must(connection.QueryRow(context.Background(), query).Scan(&properties))
	if page, _ := properties.ValueAtPath("page"); fmt.Sprint(page) == "" {
		log.Panic("no page")
	}
}

func readExternal(connection driver.Conn, found *report) {
	table, err := ext.NewTable("names", ext.Column("id", "UInt8"), ext.Column("name", "String"))
	must(err)
	must(table.Append(uint8(1), "Ada"))
	must(table.Append(uint8(2), "Bo"))
	ctx := clickhouse.Context(context.Background(), clickhouse.WithExternalTable(table))
	must(connection.QueryRow(ctx, "SELECT name FROM names WHERE id = 2").Scan(&found.External))
}

func throughSQL(database *sql.DB, table string) (count uint64) {
	transaction, err := database.Begin()
	must(err)
	statement, err := transaction.Prepare("INSERT INTO " + table + " (id, kind)")
	must(err)
	for id := range uint64(5) {
		_, err = statement.Exec(1_000_000+id, "sql")
		must(err)
	}
	must(transaction.Commit())
	query := "SELECT count() FROM " + table + " WHERE kind = ?"
	must(database.QueryRow(query, "sql").Scan(&count))
	must(database.Close())
	return count
}

// code returns the number of ClickHouse's error, which may come with the rows.
func code(connection driver.Conn, query string) int32 {
	rows, err := connection.Query(context.Background(), query)
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		log.Panicf("%s: %v", query, err)
	}
	return exception.Code
}
