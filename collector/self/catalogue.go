package self

import (
	"github.com/prometheus/common/model"

	"nocturne/collector"
)

const (
	counter   = model.MetricTypeCounter
	gauge     = model.MetricTypeGauge
	histogram = model.MetricTypeHistogram
)

// Metrics are what the program counts of its own work. A histogram has the
// series NAME_sum and NAME_count. Beside them are those of the process and of
// Go's runtime, process_* and go_*, as github.com/VictoriaMetrics/metrics names
// them.
var Metrics = []collector.Metric{
	{Name: "nocturne_access_logins_total", Type: counter, Help: "Attempts to sign in, by outcome."},
	{Name: "nocturne_alerting_evaluation_duration_seconds", Type: histogram, Help: "Time to evaluate one group of rules.", Unit: "seconds"},
	{Name: "nocturne_alerting_evaluation_failures_total", Type: counter, Help: "Rules that could not be evaluated."},
	{Name: "nocturne_alerting_evaluations_total", Type: counter, Help: "Rules evaluated."},
	{Name: "nocturne_alerting_notification_failures_total", Type: counter, Help: "Notifications that a receiver did not take."},
	{Name: "nocturne_alerting_notifications_total", Type: counter, Help: "Notifications that a receiver took."},
	{Name: "nocturne_alerting_notifications_waiting", Type: gauge, Help: "Incidents that a receiver is still to be told of."},
	{Name: "nocturne_alerting_transitions_total", Type: counter, Help: "Alerts that went from one phase to another."},
	{Name: "nocturne_automation_breaker_opened_total", Type: counter, Help: "Times that a region shrank since its hosts could not be reached."},
	{Name: "nocturne_automation_jobs_ended_total", Type: counter, Help: "Jobs that ended, by phase."},
	{Name: "nocturne_automation_jobs_submitted_total", Type: counter, Help: "Jobs submitted."},
	{Name: "nocturne_automation_oldest_task_seconds", Type: gauge, Help: "How long the oldest task of a region has waited for its turn.", Unit: "seconds"},
	{Name: "nocturne_automation_stale_writes_total", Type: counter, Help: "Writes refused since the lease was somebody else's."},
	{Name: "nocturne_automation_step_duration_seconds", Type: histogram, Help: "Time that a step took on a host.", Unit: "seconds"},
	{Name: "nocturne_automation_steps_total", Type: counter, Help: "Steps that ended on a host, by phase."},
	{Name: "nocturne_automation_tasks_waiting", Type: gauge, Help: "Tasks of a region that wait for their turn."},
	{Name: "nocturne_collector_missed_polls_total", Type: counter, Help: "Polls that were due and did not begin: the poll debt, by kind of target."},
	{Name: "nocturne_collector_poll_duration_seconds", Type: histogram, Help: "Time that a poll took, by kind of target.", Unit: "seconds"},
	{Name: "nocturne_collector_poll_failures_total", Type: counter, Help: "Polls that were not answered, by kind of target."},
	{Name: "nocturne_collector_polls_running", Type: gauge, Help: "Polls under way."},
	{Name: "nocturne_collector_polls_total", Type: counter, Help: "Polls that ended, by kind of target."},
	{Name: "nocturne_collector_polls_waiting", Type: gauge, Help: "Polls that are due and wait for a slot."},
	{Name: "nocturne_collector_targets", Type: gauge, Help: "Targets that are polled."},
	{Name: "nocturne_collector_targets_known", Type: gauge, Help: "Targets that are polled, by kind."},
	{Name: "nocturne_collector_targets_unseen", Type: gauge, Help: "Targets that answered nothing for three of their intervals, by kind."},
	{Name: "nocturne_data_free_bytes", Type: gauge, Help: "Room for the program on the file system of its data.", Unit: "bytes"},
	{Name: "nocturne_data_size_bytes", Type: gauge, Help: "Size of the file system of its data.", Unit: "bytes"},
	{Name: "nocturne_forward_lag_seconds", Type: gauge, Help: "How far a receiver of samples is behind.", Unit: "seconds"},
	{Name: "nocturne_forward_request_duration_seconds", Type: histogram, Help: "Time that a receiver of samples took to answer.", Unit: "seconds"},
	{Name: "nocturne_forward_retries_total", Type: counter, Help: "Requests to a receiver of samples that were sent again."},
	{Name: "nocturne_forward_samples_dropped_total", Type: counter, Help: "Samples that could not be sent, since they were deleted here first."},
	{Name: "nocturne_forward_samples_refused_total", Type: counter, Help: "Samples that a receiver refused for good."},
	{Name: "nocturne_forward_samples_total", Type: counter, Help: "Samples that a receiver took."},
	{Name: "nocturne_forward_waiting_bytes", Type: gauge, Help: "Of the log, what a receiver has not been sent.", Unit: "bytes"},
	{Name: "nocturne_history_bytes", Type: gauge, Help: "Of the blocks of history, raw and rolled up.", Unit: "bytes"},
	{Name: "nocturne_history_series", Type: gauge, Help: "Series in memory."},
	{Name: "nocturne_inspection_duration_seconds", Type: histogram, Help: "Time that an inspection took.", Unit: "seconds"},
	{Name: "nocturne_ledger_broken", Type: gauge, Help: "1 when the last check of the whole ledger found its chain broken, else 0."},
	{Name: "nocturne_ledger_checked_timestamp_seconds", Type: gauge, Help: "When the whole ledger was last checked, in Unix time; absent until then.", Unit: "seconds"},
	{Name: "nocturne_ledger_entries_total", Type: counter, Help: "Entries added to the ledger, by kind."},
	{Name: "nocturne_remedy_cases_total", Type: counter, Help: "Remedies that ended, by outcome."},
	{Name: "nocturne_sshconn_exec_duration_seconds", Type: histogram, Help: "Time that a command over SSH took.", Unit: "seconds"},
	{Name: "nocturne_sshconn_execs_total", Type: counter, Help: "Commands over SSH, by result."},
	{Name: "nocturne_sshconn_keepalives_total", Type: counter, Help: "Kept SSH connections found dead."},
	{Name: "nocturne_sshconn_openings_total", Type: counter, Help: "SSH connections opened, by result."},
	{Name: "nocturne_state_bytes", Type: gauge, Help: "Of the database of records.", Unit: "bytes"},
	{Name: "nocturne_tsdb_append_failures_total", Type: counter, Help: "Batches of samples that could not be written."},
	{Name: "nocturne_tsdb_block_metas_restored_total", Type: counter, Help: "Damaged meta.json files put back from their copy."},
	{Name: "nocturne_tsdb_damaged_chunks_read_total", Type: counter, Help: "Damaged chunks that a query met."},
	{Name: "nocturne_tsdb_live_keys_evicted_total", Type: counter, Help: "Items that left the live window for others."},
	{Name: "nocturne_tsdb_live_points_refused_total", Type: counter, Help: "Points that the live window did not take, by reason."},
	{Name: "nocturne_tsdb_log_sync_duration_seconds", Type: histogram, Help: "Time to make the log durable.", Unit: "seconds"},
	{Name: "nocturne_tsdb_log_sync_failures_total", Type: counter, Help: "Times that the log could not be made durable."},
	{Name: "nocturne_tsdb_queries_over_read_limit_total", Type: counter, Help: "Queries refused since they would read too much."},
	{Name: "nocturne_tsdb_queries_total", Type: counter, Help: "Selections answered from the buffer here or the remote store."},
	{Name: "nocturne_tsdb_query_duration_seconds", Type: histogram, Help: "Time that a query took.", Unit: "seconds"},
	{Name: "nocturne_tsdb_query_failures_total", Type: counter, Help: "Queries that failed."},
	{Name: "nocturne_tsdb_read_only", Type: gauge, Help: "1 while no samples are taken, else 0."},
	{Name: "nocturne_tsdb_remote_request_duration_seconds", Type: histogram, Help: "Time that the remote store took to answer.", Unit: "seconds"},
	{Name: "nocturne_tsdb_remote_request_failures_total", Type: counter, Help: "Requests that the remote store did not answer."},
	{Name: "nocturne_tsdb_remotewrite_exemplars_dropped_total", Type: counter, Help: "Exemplars that came by remote write: none is stored."},
	{Name: "nocturne_tsdb_remotewrite_request_duration_seconds", Type: histogram, Help: "Time to answer a request of remote write.", Unit: "seconds"},
	{Name: "nocturne_tsdb_remotewrite_requests_total", Type: counter, Help: "Requests of remote write, by protocol and status."},
	{Name: "nocturne_tsdb_rollup_blocks_expired_total", Type: counter, Help: "Blocks of a tier that retention removed."},
	{Name: "nocturne_tsdb_rollup_blocks_written_total", Type: counter, Help: "Blocks of a tier that were written."},
	{Name: "nocturne_tsdb_rollup_duration_seconds", Type: histogram, Help: "Time to roll a block up.", Unit: "seconds"},
	{Name: "nocturne_tsdb_rollup_failures_total", Type: counter, Help: "Blocks that could not be rolled up."},
	{Name: "nocturne_tsdb_samples_appended_total", Type: counter, Help: "Samples taken."},
	{Name: "nocturne_tsdb_samples_rejected_total", Type: counter, Help: "Samples left out, by source and reason."},
	{Name: "nocturne_tsdb_set_aside_total", Type: counter, Help: "Damaged parts of history set aside, by what they are."},
	{Name: "nocturne_tsdb_source_series", Type: gauge, Help: "Series in memory that a source writes."},
	{Name: "nocturne_web_live_charts_duration_seconds", Type: histogram, Help: "Time to draw the news of the live window.", Unit: "seconds"},
	{Name: "nocturne_web_status_duration_seconds", Type: histogram, Help: "Time to find the state of every item for the live stream.", Unit: "seconds"},
	{Name: "nocturne_web_stream_resyncs_total", Type: counter, Help: "Live streams that fell behind and were told to start again."},
	{Name: "nocturne_web_streams", Type: gauge, Help: "Live streams that are open."},
}
