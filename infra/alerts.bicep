// Alarms on the job itself. Each alarm is a query in alerts/ over the lines that the job logs
// (docs/schemas/line.*.json). Every row that the query returns raises the alarm. Two more alarms need no log: one on the
// executions of the app, and one on the health of the alarms.
param location string
param tags { *: string }
param token string

@description('Name of the action group.')
param actionGroupName string

@description('The job\'s Application Insights.')
param insightsId string

@description('The function app.')
param appId string

@description('E-mail addresses to notify.')
param emails string[]

@description('Existing action group to notify as well; none if empty.')
param actionGroupResourceId string

// window: the service accepts these values of windowSize: PT1M, PT5M, PT10M, PT15M, PT30M, PT45M, PT1H to PT6H in steps
// of an hour, P1D, P2D. every: the same values of evaluationFrequency, up to P1D.
var alarms = [
  {
    name: 'no-complete-run'
    title: 'Detection: no complete run for two and a half hours'
    description: 'The job detects nothing. The next complete run reads the missed windows.'
    severity: 1
    window: 'PT3H'
    every: 'PT15M'
    query: loadTextContent('alerts/no-complete-run.kql')
  }
  {
    name: 'failed-twice'
    title: 'Detection: two runs in a row have failed'
    description: 'The rows name the rule, the kind of error and the reason.'
    severity: 2
    window: 'PT3H'
    every: 'PT15M'
    query: loadTextContent('alerts/failed-twice.kql')
  }
  {
    name: 'undelivered'
    title: 'Detection: dead letters exist, or a message has waited for more than half an hour'
    description: 'Alerts are stored, but the destination in the row does not accept them.'
    severity: 1
    window: 'P1D'
    every: 'PT15M'
    query: loadTextContent('alerts/undelivered.kql')
  }
  {
    name: 'gap-or-lag'
    title: 'Detection: a gap is open, or a run began more than three hours behind'
    description: 'The job catches up a lag by itself. The rows name the open gaps. Read a gap with: python -m detection run --gap ID'
    severity: 2
    window: 'PT6H'
    every: 'PT30M'
    query: loadTextContent('alerts/gap-or-lag.kql')
  }
  {
    name: 'silent-sources'
    title: 'Detection: no row of either log for 24 hours'
    description: 'The connector has stopped, or its tables receive nothing: the job cannot detect anything.'
    severity: 2
    window: 'PT6H'
    every: 'PT30M'
    query: loadTextContent('alerts/silent-sources.kql')
  }
  {
    name: 'coverage-fallen'
    title: 'Detection: far fewer rows name an actor, or match the audit log, than a day before'
    description: 'Callers no longer set user, or set a different value, or changes come by API key: the job cannot see their activity.'
    severity: 3
    window: 'P2D'
    every: 'PT1H'
    query: loadTextContent('alerts/coverage-fallen.kql')
  }
  {
    name: 'mostly-silenced'
    title: 'Detection: in a day, silences covered more pairs of several actors than were alerted'
    description: 'A silence may match more than intended. List silences with: python -m detection silences list'
    severity: 3
    window: 'P1D'
    every: 'PT1H'
    query: loadTextContent('alerts/mostly-silenced.kql')
  }
]

var actionGroupIds = empty(actionGroupResourceId) ? [people.id] : [people.id, actionGroupResourceId]

// Azure reports the health of log alerts that it evaluates at least every 15 minutes. It calls all others unavailable:
// https://learn.microsoft.com/azure/azure-monitor/alerts/log-alert-rule-health
var alarmsWithHealth = filter(alarms, alarm => alarm.every == 'PT15M')

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'detection'
    enabled: true
    emailReceivers: [
      for (email, i) in emails: {
        name: 'email-${i}'
        emailAddress: trim(email)
        useCommonAlertSchema: true
      }
    ]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alarm in alarms: {
    name: 'detection-${alarm.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alarm.title
      description: alarm.description
      severity: alarm.severity
      enabled: true
      scopes: [insightsId]
      windowSize: alarm.window
      evaluationFrequency: alarm.every
      autoMitigate: true // resolve the alarm once the query returns no row
      // The table traces of a new component does not exist for some minutes, and validation would fail the first
      // deployment: https://github.com/mspnp/aks-baseline/pull/422, Azure/azure-resource-manager-schemas 567. The tests
      // parse the queries instead.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: alarm.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: actionGroupIds }
    }
  }
]

// Log alerts are weak at detecting that data is missing, and fail with the log. This alert counts executions, of any
// function. The documented minimum is a run an hour, six in the window. A threshold of one would rely on zeros after the
// app has stopped, and each provider decides whether it writes zeros or nothing:
// https://learn.microsoft.com/azure/azure-monitor/metrics/metrics-aggregation-explained#null-and-zero-values. Five is passed
// while the last executions still are in the window.
resource executions 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: 'detection-few-executions-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Detection: the app has executed its functions fewer than five times in six hours. Its timers have stopped, or it does not start.'
    severity: 1
    enabled: true
    scopes: [appId]
    windowSize: 'PT6H'
    evaluationFrequency: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'executions'
          metricNamespace: 'Microsoft.Web/sites'
          metricName: 'OnDemandFunctionExecutionCount' // of Flex Consumption; the app has no instances that are always ready
          timeAggregation: 'Total'
          operator: 'LessThan'
          threshold: 5
          skipMetricValidation: true // a new app has no metrics
        }
      ]
    }
    actions: [for id in actionGroupIds: { actionGroupId: id }]
  }
}

// A log alert whose query fails detects nothing, and Azure disables it after a week:
// https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-troubleshoot-log
resource health 'Microsoft.Insights/activityLogAlerts@2026-01-01' = {
  name: 'detection-alarm-health-${token}'
  location: 'Global'
  tags: tags
  dependsOn: [rules]
  properties: {
    description: 'Detection: an alarm on the job does not work. Its query fails, or it is disabled.'
    enabled: true
    scopes: [
      for alarm in alarmsWithHealth: resourceId(
        'Microsoft.Insights/scheduledQueryRules',
        'detection-${alarm.name}-${token}'
      )
    ]
    condition: {
      allOf: [
        { field: 'category', equals: 'ResourceHealth' }
        {
          anyOf: [
            { field: 'properties.currentHealthStatus', equals: 'Unavailable' }
            { field: 'properties.currentHealthStatus', equals: 'Degraded' }
          ]
        }
      ]
    }
    actions: { actionGroups: [for id in actionGroupIds: { actionGroupId: id }] }
  }
}
