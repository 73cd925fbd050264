package snmp

import (
	"github.com/prometheus/common/model"

	"nocturne/collector"
)

// Metrics are what a device has, for those who choose from a list.
var Metrics = []collector.Metric{
	{Name: "ifAdminStatus", Type: model.MetricTypeGauge, Help: "State that the interface shall be in: 1 up, 2 down, 3 testing (IF-MIB)."},
	{Name: "ifOperStatus", Type: model.MetricTypeGauge, Help: "State that the interface is in: 1 up, 2 down, 3 testing, 4 unknown, 5 dormant, 6 notPresent, 7 lowerLayerDown (IF-MIB)."},
	{Name: "ifLastChange", Type: model.MetricTypeGauge, Help: "Uptime of the device, in hundredths of a second, when the interface came into its state (IF-MIB)."},
	{Name: "ifHighSpeed", Type: model.MetricTypeGauge, Help: "Speed of the interface in Mbit/s (IF-MIB)."},
	{Name: "ifInDiscards", Type: model.MetricTypeCounter, Help: "Packets thrown away though sound, instead of being received (IF-MIB)."},
	{Name: "ifInErrors", Type: model.MetricTypeCounter, Help: "Packets with errors, not received for that (IF-MIB)."},
	{Name: "ifInOctets", Type: model.MetricTypeCounter, Help: "Bytes received, counted to 32 bits (IF-MIB).", Unit: "bytes"},
	{Name: "ifInUcastPkts", Type: model.MetricTypeCounter, Help: "Unicast packets received, counted to 32 bits (IF-MIB)."},
	{Name: "ifHCInOctets", Type: model.MetricTypeCounter, Help: "Bytes received (IF-MIB).", Unit: "bytes"},
	{Name: "ifHCInUcastPkts", Type: model.MetricTypeCounter, Help: "Unicast packets received (IF-MIB)."},
	{Name: "ifHCInMulticastPkts", Type: model.MetricTypeCounter, Help: "Multicast packets received (IF-MIB)."},
	{Name: "ifHCInBroadcastPkts", Type: model.MetricTypeCounter, Help: "Broadcast packets received (IF-MIB)."},
	{Name: "ifOutDiscards", Type: model.MetricTypeCounter, Help: "Packets thrown away though sound, instead of being sent (IF-MIB)."},
	{Name: "ifOutErrors", Type: model.MetricTypeCounter, Help: "Packets with errors, not sent for that (IF-MIB)."},
	{Name: "ifOutOctets", Type: model.MetricTypeCounter, Help: "Bytes sent, counted to 32 bits (IF-MIB).", Unit: "bytes"},
	{Name: "ifOutUcastPkts", Type: model.MetricTypeCounter, Help: "Unicast packets sent, counted to 32 bits (IF-MIB)."},
	{Name: "ifHCOutOctets", Type: model.MetricTypeCounter, Help: "Bytes sent (IF-MIB).", Unit: "bytes"},
	{Name: "ifHCOutUcastPkts", Type: model.MetricTypeCounter, Help: "Unicast packets sent (IF-MIB)."},
	{Name: "ifHCOutMulticastPkts", Type: model.MetricTypeCounter, Help: "Multicast packets sent (IF-MIB)."},
	{Name: "ifHCOutBroadcastPkts", Type: model.MetricTypeCounter, Help: "Broadcast packets sent (IF-MIB)."},
	{Name: "sysUpTime", Type: model.MetricTypeGauge, Help: "Time since the device's agent started, in hundredths of a second (SNMPv2-MIB)."},
}
