import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;

/** Uses a store through ClickHouse's JDBC driver, with its defaults and with other compression. */
public final class StoreJdbc {
  private static final int ROWS = 1_000;

  private StoreJdbc() {}

  public static void main(String[] arguments) throws SQLException {
    String[] options = {"", "compress=false", "decompress=true", "client.use_http_compression=true&decompress=true"};
    for (int number = 0; number < options.length; number++) {
      String url = "jdbc:clickhouse://" + arguments[0] + "/default?" + options[number];
      System.out.println(use(url, arguments[1], "jdbc_" + number));
    }
  }

  /** Returns what was read, in one line. */
  private static String use(String url, String password, String table) throws SQLException {
    Properties properties = new Properties();
    properties.put("user", "default");
    properties.put("password", password);
    List<Object> found = new ArrayList<>();
    try (Connection connection = DriverManager.getConnection(url, properties);
        Statement statement = connection.createStatement()) {
      statement.execute(
          "CREATE TABLE " + table + " (id UInt64, kind LowCardinality(String), note Nullable(String),"
              + " tags Array(String), price Decimal(18, 4), properties JSON)"
              + " ENGINE = MergeTree ORDER BY id");
      fill(connection, table);
      read(connection, table, found);
      try (ResultSet rows = statement.executeQuery("SELECT number FROM numbers(300000)")) {
        long sum = 0;
        while (rows.next()) {
          sum += rows.getLong(1);
        }
        found.add(sum);
      }
      DatabaseMetaData data = connection.getMetaData();
      try (ResultSet columns = data.getColumns(null, "default", table, "kind")) {
        while (columns.next()) {
          found.add(columns.getString("TYPE_NAME"));
        }
      }
      found.add(error(statement, "SELECT nothing"));
      found.add(error(statement, "SELECT throwIf(1, 'no')"));
    }
    return found.toString();
  }

  private static void fill(Connection connection, String table) throws SQLException {
    String insert =
        "INSERT INTO " + table + " (id, kind, note, tags, price, properties) VALUES (?, ?, ?, ?, ?, ?)";
    try (PreparedStatement rows = connection.prepareStatement(insert)) {
      for (int id = 0; id < ROWS; id++) {
        rows.setLong(1, id);
        rows.setString(2, "it's " + id % 3);
        rows.setString(3, id % 2 == 0 ? null : "v;");
        rows.setArray(4, connection.createArrayOf("String", new Object[] {"a", "b"}));
        rows.setBigDecimal(5, new BigDecimal("12.5"));
        rows.setString(6, "{\"page\": \"/x\"}");
        rows.addBatch();
      }
      rows.executeBatch();
    }
  }

  private static void read(Connection connection, String table, List<Object> found)
      throws SQLException {
    String query = "SELECT kind, note, tags, price, properties FROM " + table + " WHERE id >= ? ORDER BY id";
    try (PreparedStatement statement = connection.prepareStatement(query)) {
      statement.setLong(1, 10);
      try (ResultSet rows = statement.executeQuery()) {
        int count = 0;
        String last = "";
        while (rows.next()) {
          count++;
          Object[] tags = (Object[]) rows.getArray(3).getArray();
          last =
              rows.getString(1) + " " + rows.getString(2) + " " + Arrays.toString(tags) + " "
                  + rows.getBigDecimal(4) + " " + rows.getObject(5);
        }
        found.add(count);
        found.add(last);
      }
    }
  }

  private static int error(Statement statement, String query) {
    try {
      statement.executeQuery(query);
      return 0;
    } catch (SQLException error) {
      return error.getErrorCode();
    }
  }
}
