// Several destinations, people who operate, and everything that watches the job.
using '../../../infra/main.bicep'

param environmentName = 'detection'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param webhooks = '[{"name":"soc","url":"https://example.com/hook"},{"name":"on-call","format":"pagerduty","routing_key":"00000000000000000000000000000000"}]'
param heartbeatUrl = 'https://example.com/alive'
param pageUrl = 'https://detection.example.com'
param pageClientId = '66666666-6666-6666-6666-666666666666'
param pageGroupIds = '88888888-8888-8888-8888-888888888888, 99999999-9999-9999-9999-999999999999'
param storageLock = true
param operatorsGroupId = '77777777-7777-7777-7777-777777777777'
param vaultPurgeProtection = true
param alarmEmails = 'soc@example.com, on-call@example.com'
param actionGroupResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-soc/providers/Microsoft.Insights/actionGroups/ag-soc'
param tags = { owner: 'soc', 'cost-center': '4711' }
