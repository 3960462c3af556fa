// For the plain way, without azd: copy it, fill it in, and
//   az deployment sub create --name detection --location westeurope --parameters infra/mine.bicepparam
// Secrets come from the environment, so that the copy holds none. azd does not read this file, it asks.
using 'main.bicep'

param environmentName = 'detection'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'

param webhookUrl = readEnvironmentVariable('WEBHOOK_URL')
param webhookSecret = readEnvironmentVariable('WEBHOOK_SECRET', '')

// Who hears of it when the job itself is in trouble.
param alarmEmails = 'soc@example.com'

// The Entra group whose members read and close incidents.
param operatorsGroupId = '00000000-0000-0000-0000-000000000000'

// What else can be set, with its default: see main.bicep.
param privateNetwork = false
param instanceMemoryMB = 2048
